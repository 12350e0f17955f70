// Dropout with the bits of a ChaCha8 stream (Bernstein, "ChaCha, a variant of Salsa20", 2008; 64-bit counter and
// stream): element i uses the i-th 16 bits after the generator's position, as on the CPU.
#include "elements.cuh"

constexpr int THREADS = 256;
// 32-bit words per stream block; each holds two draws, low half first.
constexpr int WORDS = 16;
constexpr int DRAWS = 2 * WORDS;
// Stride between threads in shared memory: odd, to avoid bank conflicts.
constexpr int PITCH = WORDS + 1;

struct Key {
  unsigned long long words[4];
};

__device__ __forceinline__ unsigned rotate(unsigned v, int by) { return v << by | v >> (32 - by); }

__device__ __forceinline__ void quarter(unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
  a += b, d = rotate(d ^ a, 16);
  c += d, b = rotate(b ^ c, 12);
  a += b, d = rotate(d ^ a, 8);
  c += d, b = rotate(b ^ c, 7);
}

// The counter-th block of the stream.
__device__ void chacha8(const Key& key, unsigned long long counter, unsigned long long stream, unsigned* out) {
  unsigned start[WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};  // "expand 32-byte k"
#pragma unroll
  for (int i = 0; i < 4; i++) {
    start[4 + 2 * i] = (unsigned)key.words[i];
    start[5 + 2 * i] = (unsigned)(key.words[i] >> 32);
  }
  start[12] = (unsigned)counter, start[13] = (unsigned)(counter >> 32);
  start[14] = (unsigned)stream, start[15] = (unsigned)(stream >> 32);
  unsigned v[WORDS];
#pragma unroll
  for (int i = 0; i < WORDS; i++) v[i] = start[i];
#pragma unroll
  for (int round = 0; round < 8; round += 2) {
    quarter(v[0], v[4], v[8], v[12]), quarter(v[1], v[5], v[9], v[13]);
    quarter(v[2], v[6], v[10], v[14]), quarter(v[3], v[7], v[11], v[15]);
    quarter(v[0], v[5], v[10], v[15]), quarter(v[1], v[6], v[11], v[12]);
    quarter(v[2], v[7], v[8], v[13]), quarter(v[3], v[4], v[9], v[14]);
  }
#pragma unroll
  for (int i = 0; i < WORDS; i++) out[i] = v[i] + start[i];
}

// Each thread generates one stream block; then all threads process the corresponding elements with coalesced
// accesses. The first `skip` draws of the first block are before the first element.
template <typename T>
__device__ void dropout(const T* x, T* y, long long n, Key key, unsigned long long counter, unsigned long long stream,
                        int skip, int threshold, Sum<T> scale) {
  using S = Sum<T>;
  __shared__ unsigned words[THREADS * PITCH];
  constexpr int TILE = THREADS * DRAWS;
  for (long long tile = blockIdx.x; tile * TILE < n + skip; tile += gridDim.x) {
    chacha8(key, counter + tile * THREADS + threadIdx.x, stream, words + threadIdx.x * PITCH);
    __syncthreads();
    for (int draw = threadIdx.x; draw < TILE; draw += THREADS) {
      const long long i = tile * TILE + draw - skip;
      const unsigned word = words[draw / DRAWS * PITCH + draw % DRAWS / 2];
      const int value = draw % 2 ? word >> 16 : word & 0xffff;
      // a product, as on the CPU, so that NaN propagates
      if (i >= 0 && i < n) y[i] = store<T>(load(x[i]) * (value >= threshold ? scale : S(0)));
    }
    __syncthreads();
  }
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void dropout_##name(const T* x, T* y, long long n, long long key0, long long key1,             \
                                            long long key2, long long key3, long long counter, long long stream,       \
                                            int skip, int threshold, double scale) {                                   \
    const Key key = {{(unsigned long long)key0, (unsigned long long)key1, (unsigned long long)key2,                    \
                      (unsigned long long)key3}};                                                                      \
    dropout<T>(x, y, n, key, counter, stream, skip, threshold, (Sum<T>)scale);                                         \
  }
FOR_EACH_TYPE(DEFINE)
