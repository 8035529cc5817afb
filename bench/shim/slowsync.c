/* Owns a disk whose syncs take longer: every fsync and fdatasync of the process sleeps SLOWSYNC_US microseconds after the real
   one. Leaves everything else to the system. Built and preloaded by bench/support/shim.ts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static useconds_t delay_us(void) {
  static long known = -1;
  if (known < 0) {
    const char *text = getenv("SLOWSYNC_US");
    known = text == NULL ? 0 : atol(text);
  }
  return (useconds_t)known;
}

int fsync(int file) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  int result = real(file);
  usleep(delay_us());
  return result;
}

int fdatasync(int file) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  int result = real(file);
  usleep(delay_us());
  return result;
}
