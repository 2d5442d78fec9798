/* The reference for multi_pair: windows between p pairs of ranks at once, in plain C.
 *
 * usage: 2p ranks of: parity-many BYTES WINDOW LOOPS REPEATS SETS BEFORE
 *
 * Rank i sends to rank i + p. Each window begins at a barrier of small messages (dissemination) and
 * ends for a sender with one empty reply. A sender times itself; prints the median over REPEATS of
 * the slowest sender's seconds per message, as the harness does. Buffers are at page boundaries and
 * touched, one for every message in flight; repeats turn through SETS sets of them, and BEFORE bytes
 * are touched before the first, as in parity.c.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static char *touched(size_t bytes) {
    void *buffer = NULL;
    if (posix_memalign(&buffer, 4096, bytes + 4096)) MPI_Abort(MPI_COMM_WORLD, 1);
    memset(buffer, 1, bytes);
    return buffer;
}

static void meet(int rank, int size, MPI_Request *requests) {
    for (int d = 1; d < size; d *= 2) {
        MPI_Irecv(NULL, 0, MPI_BYTE, (rank - d + size) % size, 7, MPI_COMM_WORLD, requests);
        MPI_Isend(NULL, 0, MPI_BYTE, (rank + d) % size, 7, MPI_COMM_WORLD, requests + 1);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc != 7 || size % 2) {
        fprintf(stderr, "usage: 2p ranks of: parity-many BYTES WINDOW LOOPS REPEATS SETS BEFORE\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int bytes = atoi(argv[1]), window = atoi(argv[2]), repeats = atoi(argv[4]), half = size / 2;
    long loops = atol(argv[3]);
    int sends = rank < half, other = sends ? rank + half : rank - half;
    int sets = atoi(argv[5]);
    touched((size_t)atoll(argv[6]));
    char **slots = malloc(sizeof(char *) * (size_t)sets);
    for (int s = 0; s < sets; s++) slots[s] = touched((size_t)bytes * (size_t)window);
    MPI_Request *requests = malloc(sizeof(MPI_Request) * (size_t)(window + 2));
    double *seconds = calloc((size_t)repeats, sizeof(double));
    for (int r = -3 * sets; r < repeats; r++) { /* the first three on each set are warm-up */
        double passed = 0;
        for (long i = 0; i < loops; i++) {
            meet(rank, size, requests);
            double begin = now();
            for (int w = 0; w < window; w++) {
                char *slot = slots[(r + 3 * sets) % sets] + (size_t)w * (size_t)bytes;
                if (sends)
                    MPI_Isend(slot, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, requests + w);
                else
                    MPI_Irecv(slot, bytes, MPI_BYTE, other, 7, MPI_COMM_WORLD, requests + w);
            }
            if (sends) {
                MPI_Irecv(NULL, 0, MPI_BYTE, other, 7, MPI_COMM_WORLD, requests + window);
                MPI_Waitall(window + 1, requests, MPI_STATUSES_IGNORE);
            } else {
                MPI_Waitall(window, requests, MPI_STATUSES_IGNORE);
                MPI_Send(NULL, 0, MPI_BYTE, other, 7, MPI_COMM_WORLD);
            }
            passed += now() - begin;
        }
        if (r >= 0 && sends) seconds[r] = passed / (double)loops / window;
    }
    double *slowest = calloc((size_t)repeats, sizeof(double));
    MPI_Reduce(seconds, slowest, repeats, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    qsort(slowest, (size_t)repeats, sizeof(double), rising);
    if (rank == 0) printf("%.6e\n", slowest[repeats / 2]);
    MPI_Finalize();
    return 0;
}
