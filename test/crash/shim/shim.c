/*
 * Stands between a process and libc for the files of one directory: records what is written and synced, or makes calls fail.
 * What a record means is left to trace.ts; which call fails is told by writing to <directory>/shim.control.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MOST_FILES 4096
enum { OPENED = 1, WRITTEN = 2, TRUNCATED = 3, SYNCED = 4, UNLINKED = 5, RENAMED = 6, ALL_SYNCED = 7 };

static char root[4096];
static size_t root_length;
static int trace_file = -1;
static unsigned char kind_of[MOST_FILES]; /* 0 not ours, 1 file, 2 directory, 3 control, 4 ours but only for failing */
static uint64_t inode_of[MOST_FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long fail_at = 0, calls = 0, failed = 0;
static int fail_errno = 0, fail_for_ever = 0;

#define REAL(name) static __typeof__(&name) real = NULL; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t raw_write(int file, const void *bytes, size_t size) {
  REAL(write);
  return real(file, bytes, size);
}

__attribute__((constructor)) static void begin(void) {
  const char *directory = getenv("SHIM_DIRECTORY");
  if (!directory) return;
  snprintf(root, sizeof root, "%s/", directory);
  root_length = strlen(root);
  const char *trace = getenv("SHIM_TRACE");
  if (trace) {
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    trace_file = real_open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
}

static int ends_with(const char *text, const char *end) {
  size_t a = strlen(text), b = strlen(end);
  return a >= b && strcmp(text + a - b, end) == 0;
}

static int is_ours(const char *path) {
  return root_length && path && strncmp(path, root, root_length) == 0;
}

static void record(int kind, uint64_t inode, uint64_t at, const void *bytes, uint32_t size) {
  if (trace_file < 0) return;
  unsigned char header[21];
  header[0] = (unsigned char)kind;
  memcpy(header + 1, &inode, 8);
  memcpy(header + 9, &at, 8);
  memcpy(header + 17, &size, 4);
  raw_write(trace_file, header, sizeof header);
  if (size) raw_write(trace_file, bytes, size);
}

/* The n-th call on our files fails, once or from then on. */
static int must_fail(int file) {
  if (!fail_at || file < 0 || file >= MOST_FILES || !kind_of[file] || kind_of[file] == 3) return 0;
  long now = ++calls;
  if (now == fail_at || (fail_for_ever && now > fail_at)) {
    failed++;
    errno = fail_errno;
    return 1;
  }
  return 0;
}

static int must_fail_path(const char *path) {
  if (!fail_at || !is_ours(path) || ends_with(path, "shim.control")) return 0;
  long now = ++calls;
  if (now == fail_at || (fail_for_ever && now > fail_at)) {
    failed++;
    errno = fail_errno;
    return 1;
  }
  return 0;
}

static void control(const char *bytes, size_t size) {
  char text[128] = {0};
  memcpy(text, bytes, size < sizeof text - 1 ? size : sizeof text - 1);
  long at = 0;
  int number = 0, for_ever = 0;
  sscanf(text, "%ld %d %d", &at, &number, &for_ever);
  fail_errno = number;
  fail_for_ever = for_ever;
  calls = 0;
  failed = 0;
  fail_at = at;
}

static void track(int file, const char *path, int flags) {
  if (file < 0 || file >= MOST_FILES || !root_length) return;
  kind_of[file] = 0;
  size_t bare = root_length - 1;
  if (strncmp(path, root, bare) == 0 && (path[bare] == 0 || path[bare + 1] == 0)) {
    kind_of[file] = 2;
    return;
  }
  if (!is_ours(path)) return;
  struct stat about;
  if (fstat(file, &about) != 0) return;
  if (ends_with(path, "shim.control")) {
    kind_of[file] = 3;
    return;
  }
  if (S_ISDIR(about.st_mode)) {
    kind_of[file] = 2;
    return;
  }
  if (ends_with(path, "-shm") || ends_with(path, ".lock")) {
    kind_of[file] = 4;
    return;
  }
  kind_of[file] = 1;
  inode_of[file] = about.st_ino;
  record(OPENED, about.st_ino, (flags & O_TRUNC) ? 1 : 0, path + root_length, (uint32_t)strlen(path + root_length));
}

#define OPEN_LIKE(name)                                       \
  int name(const char *path, int flags, ...) {                \
    mode_t mode = 0;                                          \
    if (flags & (O_CREAT | O_TMPFILE)) {                      \
      va_list more;                                           \
      va_start(more, flags);                                  \
      mode = va_arg(more, mode_t);                            \
      va_end(more);                                           \
    }                                                         \
    REAL(name);                                               \
    if (must_fail_path(path)) return -1;                      \
    pthread_mutex_lock(&lock);                                \
    int file = real(path, flags, mode);                       \
    int saved = errno;                                        \
    if (file >= 0) track(file, path, flags);                  \
    pthread_mutex_unlock(&lock);                              \
    errno = saved;                                            \
    return file;                                              \
  }
OPEN_LIKE(open)
OPEN_LIKE(open64)

int close(int file) {
  REAL(close);
  if (file >= 0 && file < MOST_FILES) kind_of[file] = 0;
  return real(file);
}

static int is_traced(int file) {
  return file >= 0 && file < MOST_FILES && kind_of[file] == 1;
}

ssize_t write(int file, const void *bytes, size_t size) {
  if (file >= 0 && file < MOST_FILES && kind_of[file] == 3) {
    control(bytes, size);
    return (ssize_t)size;
  }
  if (must_fail(file)) return -1;
  if (!is_traced(file)) return raw_write(file, bytes, size);
  pthread_mutex_lock(&lock);
  off64_t at = lseek64(file, 0, SEEK_CUR);
  if (fcntl(file, F_GETFL) & O_APPEND) at = lseek64(file, 0, SEEK_END);
  ssize_t done = raw_write(file, bytes, size);
  int saved = errno;
  if (done > 0) record(WRITTEN, inode_of[file], (uint64_t)at, bytes, (uint32_t)done);
  pthread_mutex_unlock(&lock);
  errno = saved;
  return done;
}

#define PWRITE_LIKE(name, offset_type)                                                       \
  ssize_t name(int file, const void *bytes, size_t size, offset_type at) {                   \
    REAL(name);                                                                              \
    if (must_fail(file)) return -1;                                                          \
    if (!is_traced(file)) return real(file, bytes, size, at);                                \
    pthread_mutex_lock(&lock);                                                               \
    ssize_t done = real(file, bytes, size, at);                                              \
    int saved = errno;                                                                       \
    if (done > 0) record(WRITTEN, inode_of[file], (uint64_t)at, bytes, (uint32_t)done);      \
    pthread_mutex_unlock(&lock);                                                             \
    errno = saved;                                                                           \
    return done;                                                                             \
  }
PWRITE_LIKE(pwrite, off_t)
PWRITE_LIKE(pwrite64, off64_t)

#define TRUNCATE_LIKE(name, offset_type)                                                     \
  int name(int file, offset_type size) {                                                     \
    REAL(name);                                                                              \
    if (must_fail(file)) return -1;                                                          \
    if (!is_traced(file)) return real(file, size);                                           \
    pthread_mutex_lock(&lock);                                                               \
    int done = real(file, size);                                                             \
    int saved = errno;                                                                       \
    if (done == 0) record(TRUNCATED, inode_of[file], (uint64_t)size, NULL, 0);               \
    pthread_mutex_unlock(&lock);                                                             \
    errno = saved;                                                                           \
    return done;                                                                             \
  }
TRUNCATE_LIKE(ftruncate, off_t)
TRUNCATE_LIKE(ftruncate64, off64_t)

/* The sync itself is left out: a power cut is played from the trace, and the disk has nothing to prove here. */
#define SYNC_LIKE(name)                                                                      \
  int name(int file) {                                                                       \
    REAL(name);                                                                              \
    if (must_fail(file)) return -1;                                                          \
    if (file < 0 || file >= MOST_FILES || !kind_of[file]) return real(file);                 \
    pthread_mutex_lock(&lock);                                                               \
    if (kind_of[file] == 1) record(SYNCED, inode_of[file], 0, NULL, 0);                      \
    if (kind_of[file] == 2) record(ALL_SYNCED, 0, 0, NULL, 0);                               \
    pthread_mutex_unlock(&lock);                                                             \
    return 0;                                                                                \
  }
SYNC_LIKE(fsync)
SYNC_LIKE(fdatasync)

int unlink(const char *path) {
  REAL(unlink);
  if (must_fail_path(path)) return -1;
  pthread_mutex_lock(&lock);
  int done = real(path);
  int saved = errno;
  if (done == 0 && is_ours(path)) record(UNLINKED, 0, 0, path + root_length, (uint32_t)strlen(path + root_length));
  pthread_mutex_unlock(&lock);
  errno = saved;
  return done;
}

int rename(const char *from, const char *to) {
  REAL(rename);
  if (must_fail_path(from)) return -1;
  pthread_mutex_lock(&lock);
  int done = real(from, to);
  int saved = errno;
  if (done == 0 && is_ours(from) && is_ours(to)) {
    char both[8192];
    size_t a = strlen(from + root_length), b = strlen(to + root_length);
    memcpy(both, from + root_length, a + 1);
    memcpy(both + a + 1, to + root_length, b);
    record(RENAMED, 0, 0, both, (uint32_t)(a + 1 + b));
  }
  pthread_mutex_unlock(&lock);
  errno = saved;
  return done;
}

#define READ_LIKE_AT(name, offset_type)                                  \
  ssize_t name(int file, void *bytes, size_t size, offset_type at) {     \
    REAL(name);                                                          \
    if (must_fail(file)) return -1;                                      \
    return real(file, bytes, size, at);                                  \
  }
READ_LIKE_AT(pread, off_t)
READ_LIKE_AT(pread64, off64_t)

ssize_t read(int file, void *bytes, size_t size) {
  REAL(read);
  /* How many calls were counted and how many failed is read back from the control file. */
  if (file >= 0 && file < MOST_FILES && kind_of[file] == 3)
    return snprintf(bytes, size, "%ld %ld\n", calls, failed);
  if (must_fail(file)) return -1;
  return real(file, bytes, size);
}
