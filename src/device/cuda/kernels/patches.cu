// im2col for convolution by matrix products, and its adjoint, col2im, in which each input pixel gathers. Each group
// is a separate matrix, stored consecutively. Columns are (tap row, tap column, channel of the group), zero-padded to
// the pitch.
#include "packs.cuh"

struct Axis {
  int input, output, kernel, stride, pad, dilation;
};

// Geometry of one convolution over images `first` to `first + batch`, limited so that all counts fit in 32 bits.
struct Geometry {
  Axis rows, cols;
  int first, batch, channels, groups, pitch;
};

// Each thread writes 16 bytes of a row at a time; the pitch is a multiple of 16 bytes.
template <typename T> __device__ void patches(const T* x, T* out, Geometry g) {
  constexpr int N = WIDE<T>;
  const unsigned depth = g.channels / g.groups, width = g.rows.kernel * g.cols.kernel * depth, packs = g.pitch / N;
  const unsigned rows = g.batch * g.rows.output * g.cols.output;
  FOR_ELEMENTS(i, (long long)rows * g.groups * packs) {
    const unsigned at_row = (unsigned)i / packs, column = ((unsigned)i - at_row * packs) * N;
    const unsigned group = at_row / rows, row = at_row - group * rows;
    const unsigned line = row / g.cols.output, ox = row - line * g.cols.output, oy = line % g.rows.output;
    const long long image = g.first + line / g.rows.output;
    const int top = (int)(oy * g.rows.stride) - g.rows.pad, left = (int)(ox * g.cols.stride) - g.cols.pad;
    unsigned tap = column / depth, channel = column - tap * depth;
    unsigned ky = tap / g.cols.kernel, kx = tap - ky * g.cols.kernel;
    Sum<T> v[N];
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int iy = top + (int)ky * g.rows.dilation, ix = left + (int)kx * g.cols.dilation;
      const bool inside = column + n < width && iy >= 0 && iy < g.rows.input && ix >= 0 && ix < g.cols.input;
      const long long at = ((image * g.rows.input + iy) * g.cols.input + ix) * g.channels + group * depth + channel;
      v[n] = inside ? load(x[at]) : Sum<T>(0);
      if (++channel == depth) {
        channel = 0;
        if (++kx == g.cols.kernel) kx = 0, ++ky;
      }
    }
    store_pack<N>(v, out + i * N);
  }
}

// The output that reads input i through tap k, or -1.
__device__ __forceinline__ int reader(Axis a, int i, int k) {
  const int distance = i + a.pad - k * a.dilation;
  if (distance < 0 || distance % a.stride != 0) return -1;
  const int o = distance / a.stride;
  return o < a.output ? o : -1;
}

template <typename T> __device__ void gather(const T* patches, T* x, Geometry g) {
  const int depth = g.channels / g.groups;
  const long long rows = (long long)g.batch * g.rows.output * g.cols.output;
  const long long elements = (long long)g.batch * g.rows.input * g.cols.input * g.channels;
  FOR_ELEMENTS(i, elements) {
    const unsigned pixel = (unsigned)i / g.channels, c = (unsigned)i % g.channels;
    const unsigned ix = pixel % g.cols.input, iy = pixel / g.cols.input % g.rows.input;
    const unsigned image = pixel / g.cols.input / g.rows.input;
    const T* group = patches + (long long)(c / depth) * rows * g.pitch;
    Sum<T> sum = 0;
    for (int ky = 0; ky < g.rows.kernel; ++ky) {
      const int oy = reader(g.rows, iy, ky);
      for (int kx = 0; oy >= 0 && kx < g.cols.kernel; ++kx) {
        const int ox = reader(g.cols, ix, kx);
        if (ox < 0) continue;
        const long long row = ((long long)image * g.rows.output + oy) * g.cols.output + ox;
        sum += load(group[row * g.pitch + (ky * g.cols.kernel + kx) * depth + c % depth]);
      }
    }
    x[(long long)g.first * g.rows.input * g.cols.input * g.channels + i] = store<T>(sum);
  }
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void patches_##name(const T* x, T* out, Geometry g) { patches(x, out, g); }                    \
  extern "C" __global__ void gather_##name(const T* rows, T* x, Geometry g) { gather(rows, x, g); }
FOR_EACH_TYPE(DEFINE)
