// Copies as nvbandwidth (2025-04) times them, as a program of its own: a kernel holds the stream, warm-up
// copies run behind it, then an event, the copies, an event; the median of several rounds.
// usage: recipe BYTES COPIES ROUNDS    prints "from,to,engine,gbytes_per_s" for each copy
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(call)                                                                     \
    do {                                                                                \
        cudaError_t error = (call);                                                     \
        if (error != cudaSuccess) {                                                     \
            std::fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error));         \
            std::exit(1);                                                               \
        }                                                                               \
    } while (0)

static const int WARMUPS = 4;

__global__ void hold(volatile int* go) {
    long long begin = clock64();
    while (!*go && clock64() - begin < 20000000000LL) {
    }
}

__global__ void copy_words(uint4* to, const uint4* from, size_t words) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 7 * stride < words; i += 8 * stride) {
        uint4 held[8];
#pragma unroll
        for (int j = 0; j < 8; j++) held[j] = from[i + j * stride];
#pragma unroll
        for (int j = 0; j < 8; j++) to[i + j * stride] = held[j];
    }
    for (; i < words; i += stride) to[i] = from[i];
}

static void queue(bool kernel, int blocks, void* to, const void* from, size_t nbytes, cudaStream_t stream) {
    if (kernel)
        copy_words<<<blocks, 512, 0, stream>>>((uint4*)to, (const uint4*)from, nbytes / 16);
    else
        CHECK(cudaMemcpyAsync(to, from, nbytes, cudaMemcpyDefault, stream));
}

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: recipe BYTES COPIES ROUNDS\n");
        return 2;
    }
    size_t nbytes = std::strtoull(argv[1], nullptr, 10);
    int copies = std::atoi(argv[2]), rounds = std::atoi(argv[3]);
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    void *host[2], *device[2];
    for (int i = 0; i < 2; i++) {
        CHECK(cudaHostAlloc(&host[i], nbytes, cudaHostAllocDefault));
        CHECK(cudaMalloc(&device[i], nbytes));
        CHECK(cudaMemset(device[i], i, nbytes));
    }
    int* go;
    CHECK(cudaHostAlloc(&go, sizeof *go, cudaHostAllocMapped));
    cudaStream_t stream;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    struct Way {
        const char *from, *to;
        void *source, *target;
    } ways[] = {{"pinned", "device", host[0], device[0]},
                {"device", "pinned", device[0], host[0]},
                {"device", "device", device[0], device[1]}};
    for (const Way& way : ways) {
        for (bool kernel : {false, true}) {
            int blocks = properties.multiProcessorCount;
            queue(kernel, blocks, way.target, way.source, nbytes, stream);
            CHECK(cudaStreamSynchronize(stream));
            std::vector<double> rates;
            for (int round = 0; round < rounds; round++) {
                *go = 0;
                hold<<<1, 1, 0, stream>>>(go);
                for (int i = 0; i < WARMUPS; i++) queue(kernel, blocks, way.target, way.source, nbytes, stream);
                CHECK(cudaEventRecord(begin, stream));
                for (int i = 0; i < copies; i++) queue(kernel, blocks, way.target, way.source, nbytes, stream);
                CHECK(cudaEventRecord(end, stream));
                *(volatile int*)go = 1;
                CHECK(cudaStreamSynchronize(stream));
                float milliseconds;
                CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
                rates.push_back((double)nbytes * copies / (milliseconds * 1e6));
            }
            std::sort(rates.begin(), rates.end());
            std::printf("%s,%s,%s,%.6g\n", way.from, way.to, kernel ? "kernel" : "copy-engine", rates[rates.size() / 2]);
            std::fflush(stdout);
        }
    }
    return 0;
}
