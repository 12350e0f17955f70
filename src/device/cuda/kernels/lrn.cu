// Local response normalization across the channels of a pixel: y = x · s^−β, s = k + α/n · Σ x² over the window.
#include "elements.cuh"

// Constants; alpha is already divided by the window length, half is (window length − 1) / 2.
template <typename S> struct Lrn {
  int channels, half;
  S alpha, beta, k;

  __device__ int first(int c) const { return max(c - half, 0); }
  __device__ int end(int c) const { return min(c + half + 1, channels); }

  // s of channel c of a pixel.
  template <typename T> __device__ S sum(const T* pixel, int c) const {
    S squares = 0;
    for (int i = first(c); i < end(c); i++) {
      const S v = load(pixel[i]);
      squares = fma(v, v, squares);
    }
    return fma(alpha, squares, k);
  }

  // s^−β, without the power function for AlexNet's β.
  __device__ S factor(S s) const { return beta == S(0.75) ? S(1) / (sqrt(s) * sqrt(sqrt(s))) : pow(s, -beta); }
};

// One block per row of the map with `row` elements; calls f(pixel offset, channel) for each.
template <typename F> __device__ void over_row(int row, int channels, F f) {
  const long long start = (long long)blockIdx.x * row;
  for (int i = threadIdx.x; i < row; i += blockDim.x) f(start + i - i % channels, i % channels);
}

template <typename T> __device__ void forward(const T* x, T* y, int row, Lrn<Sum<T>> lrn) {
  over_row(row, lrn.channels, [&](long long pixel, int c) {
    y[pixel + c] = store<T>(load(x[pixel + c]) * lrn.factor(lrn.sum(x + pixel, c)));
  });
}

// dy·x·s^(−β−1), the summand of the gradient's window sum.
template <typename T> __device__ void shares(const T* x, const T* dy, Sum<T>* shares, int row, Lrn<Sum<T>> lrn) {
  over_row(row, lrn.channels, [&](long long pixel, int c) {
    const Sum<T> s = lrn.sum(x + pixel, c);
    shares[pixel + c] = load(dy[pixel + c]) * lrn.factor(s) * load(x[pixel + c]) / s;
  });
}

// dx = dy·s^−β − slope · x · Σ shares, slope = 2αβ/n.
template <typename T>
__device__ void gradient(const T* x, const T* dy, const Sum<T>* shares, T* dx, int row, Lrn<Sum<T>> lrn) {
  using S = Sum<T>;
  const S slope = 2 * lrn.alpha * lrn.beta;
  over_row(row, lrn.channels, [&](long long pixel, int c) {
    S share = 0;
    for (int i = lrn.first(c); i < lrn.end(c); i++) share += shares[pixel + i];
    const S direct = load(dy[pixel + c]) * lrn.factor(lrn.sum(x + pixel, c));
    dx[pixel + c] = store<T>(direct - slope * load(x[pixel + c]) * share);
  });
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void lrn_##name(const T* x, T* y, int row, int channels, int half, double alpha, double beta,  \
                                        double k) {                                                                    \
    forward(x, y, row, Lrn<Sum<T>>{channels, half, (Sum<T>)alpha, (Sum<T>)beta, (Sum<T>)k});                           \
  }                                                                                                                    \
  extern "C" __global__ void lrn_shares_##name(const T* x, const T* dy, Sum<T>* out, int row, int channels, int half,  \
                                               double alpha, double beta, double k) {                                  \
    shares(x, dy, out, row, Lrn<Sum<T>>{channels, half, (Sum<T>)alpha, (Sum<T>)beta, (Sum<T>)k});                      \
  }                                                                                                                    \
  extern "C" __global__ void lrn_gradient_##name(const T* x, const T* dy, const Sum<T>* shares, T* dx, int row,        \
                                                 int channels, int half, double alpha, double beta, double k) {        \
    gradient(x, dy, shares, dx, row, Lrn<Sum<T>>{channels, half, (Sum<T>)alpha, (Sum<T>)beta, (Sum<T>)k});             \
  }
FOR_EACH_TYPE(DEFINE)
