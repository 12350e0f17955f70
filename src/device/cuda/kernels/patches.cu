// Convolution by way of matrix products: what each output pixel reads, laid out as a row of a matrix (patches), and its
// adjoint, what each input pixel gathers from such rows. Groups are matrices of their own, one behind another. The columns
// are (tap row, tap column, channel of the group), filled up with zeros to the pitch.
#include "elements.cuh"

struct Axis {
  int input, output, kernel, stride, pad, dilation;
};

// One convolution; images `first` to `first + batch` of the tensors, so many that all counts fit 32 bits.
struct Geometry {
  Axis rows, cols;
  int first, batch, channels, groups, pitch;
};

template <typename T> __device__ void patches(const T* x, T* out, Geometry g) {
  const int depth = g.channels / g.groups, width = g.rows.kernel * g.cols.kernel * depth;
  const unsigned rows = g.batch * g.rows.output * g.cols.output;
  FOR_ELEMENTS(i, (long long)rows * g.groups * g.pitch) {
    const unsigned at_row = (unsigned)i / g.pitch, column = (unsigned)i % g.pitch;
    const unsigned row = at_row % rows, group = at_row / rows;
    const unsigned channel = column % depth, tap = column / depth;
    const unsigned oy = row / g.cols.output % g.rows.output, ox = row % g.cols.output;
    const long long image = g.first + row / g.cols.output / g.rows.output;
    const int iy = (int)(oy * g.rows.stride + tap / g.cols.kernel * g.rows.dilation) - g.rows.pad;
    const int ix = (int)(ox * g.cols.stride + tap % g.cols.kernel * g.cols.dilation) - g.cols.pad;
    const bool inside = column < width && iy >= 0 && iy < g.rows.input && ix >= 0 && ix < g.cols.input;
    const long long at = ((image * g.rows.input + iy) * g.cols.input + ix) * g.channels + group * depth + channel;
    out[i] = inside ? x[at] : store<T>(0);
  }
}

// The output that reads input i through tap k; -1 where there is none.
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
