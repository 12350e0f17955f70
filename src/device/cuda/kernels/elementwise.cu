// ReLU and its gradient; conversion between element types.
#include "elements.cuh"

template <typename T> __device__ void relu(const T* x, T* y, long long n) {
  FOR_ELEMENTS(i, n) y[i] = store<T>(rectify(load(x[i])));
}

// y is the ReLU's result.
template <typename T> __device__ void relu_gradient(const T* y, const T* dy, T* dx, long long n) {
  FOR_ELEMENTS(i, n) dx[i] = store<T>(gate(load(y[i]), load(dy[i])));
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void relu_##name(const T* x, T* y, long long n) { relu(x, y, n); }                             \
  extern "C" __global__ void relu_gradient_##name(const T* y, const T* dy, T* dx, long long n) {                       \
    relu_gradient(y, dy, dx, n);                                                                                       \
  }
FOR_EACH_TYPE(DEFINE)

extern "C" __global__ void narrow_f32_bf16(const float* x, __nv_bfloat16* y, long long n) {
  FOR_ELEMENTS(i, n) y[i] = store<__nv_bfloat16>(x[i]);
}

extern "C" __global__ void widen_bf16_f32(const __nv_bfloat16* x, float* y, long long n) {
  FOR_ELEMENTS(i, n) y[i] = load(x[i]);
}
