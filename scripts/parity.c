/* The reference for the timing loops: ping-pongs and a window test in plain C.
 *
 * usage: parity latency|window|staged BYTES WINDOW LOOPS REPEATS SETS BEFORE PIPE0 PIPE1
 *
 * MPI_Init only; the clock is read outside the loop of LOOPS operations. Prints the median over
 * REPEATS of the seconds of one operation: half a round trip, or one message of a window that
 * ends with one empty reply; and half a round trip of 8 bytes before or after all of them, whichever
 * took longer. Every message in flight has a buffer of its own, at page boundaries and touched, as in
 * the harness. There are SETS sets of buffers, which repeats turn through: a kernel that copies between
 * processes is as fast as the sender's pages lie in a row. BEFORE bytes are touched and kept before the
 * first buffer, as many as a process of the harness has by then: the first pages that a process gets
 * are those that lie most scattered. First the ranks block and wake each other through two named
 * pipes, as in bench/rank/core_probe.py: a virtual machine's host then puts their cores near each other.
 *
 * staged is the ping-pong between devices made of host memory, by way of the host: copy,
 * synchronise, message, copy, synchronise. Like the stand-in of bench/rank/timing/queue.py, a copy is
 * queued, its target poisoned in every page, and executed at synchronise; both are called by address.
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WARM 4

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void wake(const char *path0, const char *path1, int rank) {
    int in = open(rank ? path1 : path0, O_RDWR), out = open(rank ? path0 : path1, O_RDWR);
    char c = 0;
    MPI_Barrier(MPI_COMM_WORLD); /* both pipes are open at both ends */
    for (int i = 0; i < 200; i++) {
        if (rank && read(in, &c, 1) != 1) MPI_Abort(MPI_COMM_WORLD, 3);
        usleep(500);
        if (write(out, &c, 1) != 1) MPI_Abort(MPI_COMM_WORLD, 3);
        if (!rank && read(in, &c, 1) != 1) MPI_Abort(MPI_COMM_WORLD, 3);
    }
}

static char *touched(size_t bytes) {
    void *buffer = NULL;
    if (posix_memalign(&buffer, 4096, bytes + 4096)) MPI_Abort(MPI_COMM_WORLD, 1);
    memset(buffer, 1, bytes);
    return buffer;
}

static void pingpong(char *out, char *in, int bytes, int other, int leads, long loops) {
    for (long i = 0; i < loops; i++) {
        if (leads) {
            MPI_Send(out, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD);
            MPI_Recv(in, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(in, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(out, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD);
        }
    }
}

/* Half a round trip of 8 bytes, which tells how near the cores are to each other just now. */
static double probe(char *out, char *in, int rank) {
    double seconds[9];
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < 9; i++) {
        double begin = now();
        pingpong(out, in, 8, 1 - rank, rank == 0, 500);
        seconds[i] = (now() - begin) / 500 / 2;
    }
    qsort(seconds, 9, sizeof(double), rising);
    return seconds[4];
}

#define MOST_QUEUED 16384
struct stream {
    long count;
    struct { char *target; const char *source; size_t bytes; } copies[MOST_QUEUED];
};

static int copy_async(void *target, const void *source, size_t bytes, int kind, void *stream) {
    struct stream *queue = stream;
    char *to = target;
    const char *from = source;
    (void)kind;
    if (queue->count == MOST_QUEUED) return 2;
    queue->copies[queue->count].target = to;
    queue->copies[queue->count].source = from;
    queue->copies[queue->count++].bytes = bytes;
    for (size_t i = 0; i < bytes; i += 4096) to[i] = (char)~from[i];
    if (bytes) to[bytes - 1] = (char)~from[bytes - 1];
    return 0;
}

static int synchronize(void *stream) {
    struct stream *queue = stream;
    for (long i = 0; i < queue->count; i++)
        memmove(queue->copies[i].target, queue->copies[i].source, queue->copies[i].bytes);
    queue->count = 0;
    return 0;
}

static int (*volatile copy_by_address)(void *, const void *, size_t, int, void *) = copy_async;
static int (*volatile synchronize_by_address)(void *) = synchronize;

static void send_staged(char *device, char *host, int bytes, int other, struct stream *stream) {
    MPI_Request request;
    copy_by_address(host, device, (size_t)bytes, 4, stream);
    synchronize_by_address(stream);
    MPI_Isend(host, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, &request);
    MPI_Waitall(1, &request, MPI_STATUSES_IGNORE);
}

static void receive_staged(char *device, char *host, int bytes, int other, struct stream *stream) {
    MPI_Request request;
    MPI_Irecv(host, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, &request);
    MPI_Waitall(1, &request, MPI_STATUSES_IGNORE);
    copy_by_address(device, host, (size_t)bytes, 4, stream);
    synchronize_by_address(stream);
}

/* Buffers: device out, host out, device in, host in. As a schedule is followed, the clock is read
 * before and after every round trip; returns their sum. */
static double staged(char **buffers, int bytes, int other, int leads, long loops,
                     struct stream *stream) {
    double passed = 0;
    for (long i = 0; i < loops; i++) {
        double begin = now();
        if (leads) send_staged(buffers[0], buffers[1], bytes, other, stream);
        receive_staged(buffers[2], buffers[3], bytes, other, stream);
        if (!leads) send_staged(buffers[0], buffers[1], bytes, other, stream);
        passed += now() - begin;
    }
    return passed;
}

static void window_of(char *slots, int bytes, int window, int other, int leads, long loops,
                      MPI_Request *requests) {
    for (long i = 0; i < loops; i++) {
        for (int w = 0; w < window; w++) {
            char *slot = slots + (size_t)w * (size_t)bytes;
            if (leads)
                MPI_Isend(slot, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, requests + w);
            else
                MPI_Irecv(slot, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, requests + w);
        }
        MPI_Waitall(window, requests, MPI_STATUSES_IGNORE);
        if (leads)
            MPI_Recv(slots, 0, MPI_BYTE, other, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else
            MPI_Send(slots, 0, MPI_BYTE, other, 7, MPI_COMM_WORLD);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc != 10 || size != 2) {
        fprintf(stderr, "usage: 2 ranks of: parity latency|window|staged BYTES WINDOW LOOPS REPEATS SETS BEFORE PIPE0 PIPE1\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int latency = strcmp(argv[1], "latency") == 0, by_host = strcmp(argv[1], "staged") == 0;
    int bytes = atoi(argv[2]), window = atoi(argv[3]), repeats = atoi(argv[5]);
    long loops = atol(argv[4]);
    int sets = atoi(argv[6]);
    touched((size_t)atoll(argv[7]));
    char *(*buffers)[4] = malloc(sizeof(*buffers) * (size_t)sets);
    for (int s = 0; s < sets; s++) {
        buffers[s][0] = touched((size_t)bytes * (size_t)window);
        for (int b = 1; b < (latency ? 2 : by_host ? 4 : 1); b++) buffers[s][b] = touched((size_t)bytes);
    }
    struct stream *stream = calloc(1, sizeof(struct stream));
    MPI_Request *requests = malloc(sizeof(MPI_Request) * (size_t)window);
    double *seconds = malloc(sizeof(double) * (size_t)repeats);
    wake(argv[8], argv[9], rank);
    char *small[2] = {touched(8), touched(8)};
    double state = probe(small[0], small[1], rank);
    for (int r = -WARM * sets; r < repeats; r++) { /* the first on each set are warm-up */
        char **set = buffers[(r + WARM * sets) % sets];
        MPI_Barrier(MPI_COMM_WORLD);
        double begin = now(), passed = -1;
        if (latency)
            pingpong(set[0], set[1], bytes, 1 - rank, rank == 0, loops);
        else if (by_host)
            passed = staged(set, bytes, 1 - rank, rank == 0, loops, stream);
        else
            window_of(set[0], bytes, window, 1 - rank, rank == 0, loops, requests);
        if (passed < 0) passed = now() - begin;
        if (r >= 0) seconds[r] = passed / (double)loops / (latency || by_host ? 2.0 : window);
    }
    qsort(seconds, (size_t)repeats, sizeof(double), rising);
    double later = probe(small[0], small[1], rank);
    if (rank == 0)
        printf("%.6e %.6e\n", (seconds[(repeats - 1) / 2] + seconds[repeats / 2]) / 2,
               later > state ? later : state);
    MPI_Finalize();
    return 0;
}
