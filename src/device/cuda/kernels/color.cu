// Color: sRGB bytes to Lab, the nearest bins of ab values, soft codes, the annealed mean, random changes.
#include "elements.cuh"
#include "fixed_sums.cuh"

constexpr int BYTES = 256;

// Cube root of a normal number near 1, same algorithm as on the CPU: an initial guess of t^(-1/3) from the exponent
// bits, two third-order iterations, then t·(t^(-1/3))².
__device__ double cube_root(double t) {
  double r = __uint_as_float(0x54A21D2Au - __float_as_uint((float)t) / 3u);
  for (int i = 0; i < 2; ++i) {
    const double rest = 1.0 - t * r * r * r;
    r *= 1.0 + rest * (1.0 / 3.0 + rest * (2.0 / 9.0));
  }
  return t * r * r;
}

// CIE's f(t), with scikit-image's rounded constants.
__device__ double response(double t) { return t > 0.008856 ? cube_root(t) : 7.787 * t + 16.0 / 116.0; }

__device__ double linearize(double v) { return v > 0.04045 ? pow((v + 0.055) / 1.055, 2.4) : v / 12.92; }

// (n, 3) → (n, 3), with blocks of 256 threads. `matrix`: linear sRGB → XYZ relative to white, by rows.
struct Matrix { double m[9]; };
extern "C" __global__ void rgb_to_lab(const unsigned char* rgb, float* lab, Matrix matrix, long long n) {
  __shared__ double linear[BYTES];
  linear[threadIdx.x] = linearize(threadIdx.x / 255.0);
  __syncthreads();
  const double* m = matrix.m;
  FOR_ELEMENTS(i, n) {
    const double r = linear[rgb[3 * i]], g = linear[rgb[3 * i + 1]], b = linear[rgb[3 * i + 2]];
    const double x = response(m[0] * r + m[1] * g + m[2] * b);
    const double y = response(m[3] * r + m[4] * g + m[5] * b);
    const double z = response(m[6] * r + m[7] * g + m[8] * b);
    lab[3 * i] = (float)(116.0 * y - 16.0);
    lab[3 * i + 1] = (float)(500.0 * (x - y));
    lab[3 * i + 2] = (float)(200.0 * (y - z));
  }
}

// Squared distance and index of a bin packed in one integer that sorts by distance, then index. Distances are rounded
// as on the CPU, so that ties are identical; NaN sorts last.
__device__ __forceinline__ unsigned long long rank_of(const float* centers, unsigned bin, float a, float b) {
  const float da = __fadd_rn(a, -centers[2 * bin]), db = __fadd_rn(b, -centers[2 * bin + 1]);
  const float distance = __fadd_rn(__fmul_rn(da, da), __fmul_rn(db, db));
  const unsigned bits = distance != distance ? 0x7fffffffu : __float_as_uint(distance);
  return (unsigned long long)bits << 32 | bin;
}

// Minimum over a warp, broadcast to every lane.
__device__ __forceinline__ unsigned long long lowest_of_warp(unsigned long long rank) {
  for (int step = WARP / 2; step > 0; step /= 2) {
    const unsigned long long other = __shfl_xor_sync(ALL_LANES, rank, step);
    if (other < rank) rank = other;
  }
  return rank;
}

// The lowest rank of all bins that is at least `least`, broadcast to every lane.
__device__ unsigned long long lowest_rank(const float* centers, int q, float a, float b, unsigned long long least) {
  unsigned long long best = ~0ull;
  for (int i = threadIdx.x % WARP; i < q; i += WARP) {
    const unsigned long long rank = rank_of(centers, i, a, b);
    if (rank >= least && rank < best) best = rank;
  }
  return lowest_of_warp(best);
}

// Most ranks per lane held in registers.
constexpr int HELD = 16;

// The k lowest ranks of q bins; lane i gets the i-th. Up to 512 bins are ranked once, more are ranked again for each
// neighbor.
__device__ unsigned long long lowest_ranks(const float* centers, int q, float a, float b, int k) {
  const int lane = threadIdx.x % WARP;
  unsigned long long mine = 0;
  if (q > HELD * WARP) {
    for (unsigned long long least = 0, place = 0; place < k; ++place) {
      const unsigned long long best = lowest_rank(centers, q, a, b, least);
      if (lane == place) mine = best;
      least = best + 1;
    }
    return mine;
  }
  unsigned long long held[HELD], own = ~0ull;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int bin = lane + i * WARP;
    held[i] = bin < q ? rank_of(centers, bin, a, b) : ~0ull;
    own = held[i] < own ? held[i] : own;
  }
  for (int place = 0; place < k; ++place) {
    const unsigned long long best = lowest_of_warp(own);
    if (lane == place) mine = best;
    if (own == best) {
      own = ~0ull;
#pragma unroll
      for (int i = 0; i < HELD; i++) {
        if (held[i] == best) held[i] = ~0ull;
        own = held[i] < own ? held[i] : own;
      }
    }
  }
  return mine;
}

// One warp per color; index 0 for a non-finite color.
extern "C" __global__ void nearest_bins(const float* ab, const float* centers, unsigned* bins, long long n, int q) {
  const long long pixel = warp_row();
  if (pixel >= n) return;
  const unsigned long long best = lowest_rank(centers, q, ab[2 * pixel], ab[2 * pixel + 1], 0);
  if (threadIdx.x % WARP == 0) bins[pixel] = (unsigned)best;
}

// One block per image of `values` numbers: 1 if any absolute value exceeds the threshold, 0 for a gray image.
extern "C" __global__ void gray_gates(const float* ab, double* gates, float threshold, int values) {
  const float* image = ab + (long long)blockIdx.x * values;
  int found = 0;
  for (int i = threadIdx.x; i < values; i += blockDim.x) found |= fabsf(image[i]) > threshold;
  found = block_sum(found);
  if (threadIdx.x == 0) gates[blockIdx.x] = found > 0 ? 1.0 : 0.0;
}

// One warp per color and one lane per neighbor (k ≤ 32 of q bins, nearest first): the bin and its Gaussian weight
// relative to the nearest. Per pixel: the code's entropy and the loss weight, `per_image` times the weight of the
// nearest bin (null: 1) and the gate of the image (null: open).
extern "C" __global__ void soft_codes(
    const float* ab, const float* centers, const float* weights, const double* gates, unsigned* classes,
    double* shares, double* row_weights, double* entropies, float scale, double per_image, long long n, int pixels,
    int q, int k) {
  const long long pixel = warp_row();
  if (pixel >= n) return;
  const int lane = threadIdx.x % WARP;
  const unsigned long long mine = lowest_ranks(centers, q, ab[2 * pixel], ab[2 * pixel + 1], k);
  const float distance = __uint_as_float((unsigned)(mine >> 32));
  const float nearest = __shfl_sync(ALL_LANES, distance, 0);
  // through double, to round like an accurate CPU expf
  const float value = (float)exp((double)((distance - nearest) * scale));
  float sum = 0.0f;
  for (int place = 0; place < k; ++place) sum += __shfl_sync(ALL_LANES, value, place);
  const double weight = value / sum;
  double total = 0.0, entropy = 0.0;
  for (int place = 0; place < k; ++place) total += __shfl_sync(ALL_LANES, weight, place);
  const double share = weight / total, part = share == 0.0 ? 0.0 : share * log(share);
  for (int place = 0; place < k; ++place) entropy -= __shfl_sync(ALL_LANES, part, place);
  if (lane < k) {
    classes[pixel * k + lane] = (unsigned)mine;
    shares[pixel * k + lane] = share;
  }
  if (lane == 0) {
    const double gate = gates == nullptr ? 1.0 : gates[pixel / pixels];
    row_weights[pixel] = gate * (weights == nullptr ? 1.0 : (double)weights[(unsigned)mine]) * per_image;
    entropies[pixel] = entropy;
  }
}

// Annealed mean of q logits, one warp per row; for temperature 0 the mode, ties resolved to the lower index.
extern "C" __global__ void annealed_mean(
    const float* logits, const float* centers, float* ab, float temperature, long long n, int q) {
  const long long pixel = warp_row();
  if (pixel >= n) return;
  const int lane = threadIdx.x % WARP;
  const float* row = logits + pixel * q;
  float highest = -INFINITY;
  int mode = q, broken = 0;
  for (int i = lane; i < q; i += WARP) {
    broken |= row[i] != row[i];
    if (mode == q || row[i] > highest) highest = row[i], mode = i;
  }
  for (int step = WARP / 2; step > 0; step /= 2) {
    broken |= __shfl_xor_sync(ALL_LANES, broken, step);
    const float value = __shfl_xor_sync(ALL_LANES, highest, step);
    const int index = __shfl_xor_sync(ALL_LANES, mode, step);
    if (value > highest || (value == highest && index < mode)) highest = value, mode = index;
  }
  double sum = 0.0, a = 0.0, b = 0.0;
  for (int i = lane; i < q && temperature != 0.0f && !broken; i += WARP) {
    // the branch avoids ∞ − ∞
    const double weight = expf(row[i] == highest ? 0.0f : (row[i] - highest) / temperature);
    sum += weight;
    a += weight * centers[2 * i];
    b += weight * centers[2 * i + 1];
  }
  sum = warp_sum(sum);
  a = warp_sum(a);
  b = warp_sum(b);
  if (lane != 0) return;
  for (int axis = 0; axis < 2; ++axis) {
    const float mean = temperature == 0.0f ? centers[2 * mode + axis] : (float)((axis == 0 ? a : b) / sum);
    ab[2 * pixel + axis] = broken ? NAN : mean;
  }
}

__device__ __forceinline__ float unit(float v) { return fminf(fmaxf(v, 0.0f), 1.0f); }

// HSV saturation times `factor`, at constant value and hue.
__device__ void saturate_pixel(float* rgb, float factor) {
  const float low = fminf(fminf(rgb[0], rgb[1]), rgb[2]), value = fmaxf(fmaxf(rgb[0], rgb[1]), rgb[2]);
  if (value <= low) return;
  const float scale = fminf(factor, value / (value - low));
  for (int c = 0; c < 3; ++c) rgb[c] = value - (value - rgb[c]) * scale;
}

// HSV hue plus `turns`.
__device__ void turn_pixel(float* rgb, float turns) {
  const float r = rgb[0], g = rgb[1], b = rgb[2];
  const float low = fminf(fminf(r, g), b), value = fmaxf(fmaxf(r, g), b), chroma = value - low;
  if (chroma <= 0.0f) return;
  float hue = value == r ? (g - b) / chroma : value == g ? 2.0f + (b - r) / chroma : 4.0f + (r - g) / chroma;
  hue += 6.0f * turns;
  for (int c = 0; c < 3; ++c) {
    float k = fmodf(5.0f - 2.0f * c + hue, 6.0f);
    if (k < 0.0f) k += 6.0f;
    rgb[c] = value - chroma * unit(fminf(k, 4.0f - k));
  }
}

// Changes of color of one picture per block, from its nine numbers in `described`: kind and amount of each of four
// changes, clipped after each, and whether only the gray value is left.
extern "C" __global__ void color_jitter(const float* pictures, const float* described, float* y, int pixels) {
  const float* from = pictures + 3LL * pixels * blockIdx.x;
  const float* changes = described + 9 * blockIdx.x;
  float* to = y + 3LL * pixels * blockIdx.x;
  for (int i = threadIdx.x; i < 3 * pixels; i += blockDim.x) to[i] = from[i];
  for (int change = 0; change < 4; ++change) {
    const int kind = (int)changes[2 * change];
    const float amount = changes[2 * change + 1];
    if (kind > 3) continue;
    float mean[3] = {0.0f, 0.0f, 0.0f};
    for (int c = 0; c < 3 && kind == 1; ++c) {
      double sum = 0.0;
      __syncthreads(); // the pixels have been written
      for (int i = threadIdx.x; i < pixels; i += blockDim.x) sum += to[3 * i + c];
      mean[c] = (float)(block_sum(sum) / pixels);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < pixels; i += blockDim.x) {
      float* rgb = to + 3 * i;
      if (kind == 0) for (int c = 0; c < 3; ++c) rgb[c] *= amount;
      if (kind == 1) for (int c = 0; c < 3; ++c) rgb[c] = mean[c] + amount * (rgb[c] - mean[c]);
      if (kind == 2) saturate_pixel(rgb, amount);
      if (kind == 3) turn_pixel(rgb, amount);
      for (int c = 0; c < 3; ++c) rgb[c] = unit(rgb[c]);
    }
  }
  if (changes[8] == 0.0f) return;
  __syncthreads();
  for (int i = threadIdx.x; i < pixels; i += blockDim.x) {
    float* rgb = to + 3 * i;
    rgb[0] = rgb[1] = rgb[2] = rgb[0] * 0.2989f + rgb[1] * 0.587f + rgb[2] * 0.114f;
  }
}

// The number of every value in `numbers` (3, 256), red and blue exchanged if `bgr`.
extern "C" __global__ void look_up(const unsigned char* rgb, const float* numbers, int bgr, float* y, long long n) {
  FOR_ELEMENTS(i, n) {
    const int channel = (int)(i % 3);
    y[i] = numbers[256 * channel + rgb[bgr ? i - 2 * channel + 2 : i]];
  }
}
