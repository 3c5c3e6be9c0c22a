// Fails the N-th write or sync of a journal's files, as a disk would. Loaded before libc: LD_PRELOAD.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2 };

static atomic_int remaining, sticky, kinds, torn, number, fired;

// From now on the N-th call of these kinds fails; if it `stays`, all after it too. A torn write leaves half of its bytes behind.
void fault_arm(int n, int which, int stays, int half, int error) {
    fired = 0;
    sticky = stays;
    torn = half;
    number = error;
    remaining = n;
    kinds = which;
}

void fault_disarm(void) { kinds = 0; }

int fault_fired(void) { return fired; }

static int is_journal(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "journal.sqlite3") != NULL;
}

static int fails(int kind, int descriptor) {
    if (!(kinds & kind) || !is_journal(descriptor)) return 0;
    int left = atomic_fetch_sub(&remaining, 1);
    if (left > 1 || (left < 1 && !sticky)) return 0;
    fired = 1;
    errno = number;
    return 1;
}

typedef ssize_t (*positioned)(int, const void *, size_t, off64_t);
typedef ssize_t (*plain)(int, const void *, size_t);
typedef int (*sized)(int, off64_t);
typedef int (*bare)(int);

static ssize_t write_at(const char *name, int descriptor, const void *bytes, size_t size, off64_t offset) {
    positioned real = (positioned)dlsym(RTLD_NEXT, name);
    if (!fails(WRITES, descriptor)) return real(descriptor, bytes, size, offset);
    if (torn) real(descriptor, bytes, size / 2, offset);
    errno = number;
    return -1;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset) {
    return write_at("pwrite", descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t offset) {
    return write_at("pwrite64", descriptor, bytes, size, offset);
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    return fails(WRITES, descriptor) ? -1 : ((plain)dlsym(RTLD_NEXT, "write"))(descriptor, bytes, size);
}

int ftruncate(int descriptor, off_t size) {
    return fails(WRITES, descriptor) ? -1 : ((sized)dlsym(RTLD_NEXT, "ftruncate"))(descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
    return fails(WRITES, descriptor) ? -1 : ((sized)dlsym(RTLD_NEXT, "ftruncate64"))(descriptor, size);
}

int fsync(int descriptor) { return fails(SYNCS, descriptor) ? -1 : ((bare)dlsym(RTLD_NEXT, "fsync"))(descriptor); }

int fdatasync(int descriptor) { return fails(SYNCS, descriptor) ? -1 : ((bare)dlsym(RTLD_NEXT, "fdatasync"))(descriptor); }
