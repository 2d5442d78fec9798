/* What a copy between two processes has to do with the pages of its buffers.
 *
 * usage: pages REPEATS
 *
 * Two processes, each on a core of its own. One holds sets of 64 MiB, the other reads them into sets of
 * its own by process_vm_readv, 1 MiB at a time, as MPI libraries read large messages. Sets of pages of
 * 4 KiB are touched in order (o), in order with 15 pages for something else after each (a: apart), and
 * in random order (r); those of huge pages (h) in order. Prints for each set of the sender, one line:
 * its kind, the mean number of pages in a row in physical memory (needs root; 0 where the kernel hides
 * it), and the GB/s into sets o, r and h of the reader, each the median of REPEATS; then the GB/s of
 * memcpy from that set and of a triad over it, by the process itself.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SET (64ul << 20)
#define CHUNK (1ul << 20)
#define HUGE_PAGE (2ul << 20)
#define PAGE 4096ul
#define PAGES (SET / PAGE)
#define FRAME ((1ull << 55) - 1)
static const char SENDERS[] = "ooooooooaarrhh", READERS[] = "orh";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bind_to(int nth) {
    cpu_set_t usable, one;
    if (sched_getaffinity(0, sizeof usable, &usable)) fail("sched_getaffinity");
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &usable) && nth-- == 0) CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one)) fail("two cores are needed");
}

static char *mapped(size_t bytes, int advice) {
    char *at = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) fail("mmap");
    at += HUGE_PAGE - (uintptr_t)at % HUGE_PAGE;
    madvise(at, bytes, advice);
    return at;
}

static char *make_set(char kind) {
    char *set = mapped(SET, kind == 'h' ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    char *between = kind == 'a' ? mapped(15 * SET, MADV_NOHUGEPAGE) : NULL;
    static unsigned order[PAGES];
    for (size_t i = 0; i < PAGES; i++) order[i] = (unsigned)i;
    for (size_t i = PAGES - 1; kind == 'r' && i > 0; i--) {
        size_t j = (size_t)random() % (i + 1);
        unsigned swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    for (size_t i = 0; i < PAGES; i++) {
        memset(set + PAGE * order[i], 1, PAGE);
        for (size_t k = 0; between && k < 15; k++) between[PAGE * (15 * i + k)] = 1;
    }
    if (between) munmap(between, 15 * SET);
    return set;
}

static double pages_in_a_row(const char *set) {
    static uint64_t entries[PAGES];
    int file = open("/proc/self/pagemap", O_RDONLY);
    ssize_t got = pread(file, entries, sizeof entries, (off_t)((uintptr_t)set / PAGE * 8));
    close(file);
    if (got != sizeof entries || !(entries[0] & FRAME)) return 0;
    double rows = 1;
    for (size_t i = 1; i < PAGES; i++) rows += (entries[i] & FRAME) != (entries[i - 1] & FRAME) + 1;
    return (double)PAGES / rows;
}

static void read_from(pid_t other, char *to, char *from) {
    for (size_t at = 0; at < SET; at += CHUNK) {
        struct iovec local = {to + at, CHUNK}, remote = {from + at, CHUNK};
        if (process_vm_readv(other, &local, 1, &remote, 1, 0) != (ssize_t)CHUNK) fail("process_vm_readv");
    }
}

static void copy(pid_t other, char *to, char *from) {
    (void)other;
    memcpy(to, from, SET);
}

static void triad(pid_t other, char *to, char *from) {
    (void)other;
    double *a = (double *)to;
    const double *b = (const double *)from, *c = b + SET / 16;
    for (size_t i = 0; i < SET / 16; i++) a[i] = b[i] + 3.0 * c[i];
}

static double rate(void (*work)(pid_t, char *, char *), pid_t other, char *to, char *from, int repeats) {
    double seconds[repeats];
    for (int r = -1; r < repeats; r++) { /* the first is warm-up */
        double begin = now();
        work(other, to, from);
        if (r >= 0) seconds[r] = now() - begin;
    }
    qsort(seconds, (size_t)repeats, sizeof(double), rising);
    return (double)SET / seconds[repeats / 2] / 1e9;
}

int main(int argc, char **argv) {
    enum { COUNT = sizeof SENDERS - 1, INTO = sizeof READERS - 1 };
    struct held { char *at; double row, copied, summed; } sets[COUNT];
    int repeats = argc == 2 ? atoi(argv[1]) : 0, told[2], end[2];
    if (repeats < 1) return fprintf(stderr, "usage: pages REPEATS\n"), 2;
    if (pipe(told) || pipe(end)) fail("pipe");
    pid_t sender = fork();
    if (sender == 0) {
        char over;
        close(end[1]);
        bind_to(1);
        for (int i = 0; i < COUNT; i++) sets[i].row = pages_in_a_row(sets[i].at = make_set(SENDERS[i]));
        char *to = make_set('o');
        for (int i = 0; i < COUNT; i++) {
            sets[i].copied = rate(copy, 0, to, sets[i].at, repeats);
            sets[i].summed = rate(triad, 0, to, sets[i].at, repeats);
        }
        if (write(told[1], sets, sizeof sets) != sizeof sets) fail("write");
        return read(end[0], &over, 1) != 0; /* keep the pages until the reader is through */
    }
    close(told[1]);
    bind_to(0);
    if (read(told[0], sets, sizeof sets) != sizeof sets) fail("read");
    char *into[INTO];
    for (int j = 0; j < INTO; j++) into[j] = make_set(READERS[j]);
    for (int i = 0; i < COUNT; i++) {
        printf("%c %.1f", SENDERS[i], sets[i].row);
        for (int j = 0; j < INTO; j++) printf(" %.2f", rate(read_from, sender, into[j], sets[i].at, repeats));
        printf(" %.2f %.2f\n", sets[i].copied, 1.5 * sets[i].summed);
    }
    close(end[1]);
    waitpid(sender, NULL, 0);
    return 0;
}
