/**
 * Owns the completion script for bash. The library's own evaluates what was typed and what is offered, needs the bash-completion
 * package and cannot be sourced twice; candidates here come from a queue that others write to, so nothing of them is evaluated.
 */

export const bashScript = `# bash completion for holdfast
_holdfast() {
    local cur=\${COMP_WORDS[COMP_CWORD]} typed=\${COMP_LINE:0:COMP_POINT} prefix line
    local -a words
    read -ra words <<< "$typed"
    [[ $typed == *[[:space:]] ]] && words+=("")
    typed=\${typed##*[[:space:]]}
    # bash breaks words at : and =, the command does not.
    [[ $typed == -*=* ]] && typed=\${typed#*=}
    [[ $cur == [:=] ]] && cur=
    prefix=\${typed%"$cur"}
    COMPREPLY=()
    while IFS= read -r line; do
        # Files are offered where one may stand; a bash before 4 offers them everywhere.
        [[ $line == :4 ]] && compopt +o default 2>/dev/null
        [[ $line == :* ]] && continue
        line=\${line%%$'\\t'*}
        [[ $line == "$typed"* ]] && COMPREPLY+=("\${line#"$prefix"}")
    done < <(holdfast complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -o default -F _holdfast holdfast`;
