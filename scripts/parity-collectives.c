/* The reference for coll_latency: a barrier of our own, a look at the clock, MPI_Allreduce, another.
 *
 * usage: parity-collectives BYTES LOOPS REPEATS PIPE0 PIPE1
 *
 * BYTES of floats on each rank. A sample is the mean over LOOPS calls; that of the slowest rank
 * counts, and the median over REPEATS samples is printed. Buffers, waking and clock as in parity.c.
 */
#define main parity /* its buffers, its clock and its waking, without its program */
#include "parity.c"
#undef main

static void meet(int rank, int size) { /* as Schedule.meet of bench/core/schedule.py */
    for (int distance = 1; distance < size; distance *= 2) {
        MPI_Request requests[2];
        MPI_Irecv(NULL, 0, MPI_BYTE, (rank - distance + size) % size, 7, MPI_COMM_WORLD, requests);
        MPI_Isend(NULL, 0, MPI_BYTE, (rank + distance) % size, 7, MPI_COMM_WORLD, requests + 1);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    }
}

static double sample(void *send, void *receive, int count, long loops, int rank, int size) {
    double passed = 0;
    for (long i = 0; i < loops; i++) {
        meet(rank, size);
        double begin = now();
        MPI_Allreduce(send, receive, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        passed += now() - begin;
    }
    return passed / (double)loops;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc != 6 || size != 2) {
        fprintf(stderr, "usage: 2 ranks of: parity-collectives BYTES LOOPS REPEATS PIPE0 PIPE1\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int bytes = atoi(argv[1]), repeats = atoi(argv[3]);
    long loops = atol(argv[2]);
    float *send = (float *)touched((size_t)bytes), *receive = (float *)touched((size_t)bytes);
    for (int i = 0; i < bytes / (int)sizeof(float); i++) send[i] = (float)(i % 1021 + 1 + rank);
    double *own = malloc(sizeof(double) * (size_t)repeats);
    double *slowest = malloc(sizeof(double) * (size_t)repeats);
    wake(argv[4], argv[5], rank);
    int count = bytes / (int)sizeof(float);
    for (int r = 0; r < repeats / 4 + 1; r++) sample(send, receive, count, loops, rank, size);
    for (int r = 0; r < repeats; r++) own[r] = sample(send, receive, count, loops, rank, size);
    MPI_Reduce(own, slowest, repeats, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    qsort(slowest, (size_t)repeats, sizeof(double), rising);
    if (rank == 0) printf("%.6e\n", slowest[repeats / 2]);
    MPI_Finalize();
    return 0;
}
