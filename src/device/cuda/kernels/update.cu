// Fused multi-tensor optimizer update: the arguments contain a table of the addresses of each parameter, its gradient
// and its moments. The update is skipped if the gradient norm is not finite. What changes from step to step is read from
// device memory, so that a captured graph of a step can be replayed for the next one.
#include "elements.cuh"

constexpr int MOST = 64;

struct Part {
  float* w;
  const float* g;
  // Adam: the first and second moment. SGD: the velocity. Moving average: the average.
  float* first;
  float* second;
  long long n;
  double multiplier; // of the learning rate
  float decay;
  float trust_coefficient; // of LARS; 0: the rate is not adapted
};

struct Parts {
  Part at[MOST];
};

// The numbers of one step: learning rate, its bias correction (1 without one), Adam's epsilon, number of accumulated
// passes, clipping norm of the gradient (0: none).
struct Step {
  double lr, correction, delta, passes, clip;
};

extern "C" __global__ void set_step(Step* step, double lr, double correction, double delta, double passes, double clip) {
  *step = {lr, correction, delta, passes, clip};
}

__device__ __forceinline__ float rate_of(Part p, const Step* step) {
  return step->lr * p.multiplier * step->correction;
}

// The factor on the accumulated gradient of that norm; false if it is not finite.
__device__ __forceinline__ bool factor(const double* norm_at, const Step* step, float* out) {
  const double norm = *norm_at;
  if (!isfinite(norm)) return false;
  *out = (step->clip > 0 && norm > step->clip ? step->clip / norm : 1.0) / step->passes;
  return true;
}

// Decoupled decay shrinks the weight; coupled decay is added to the gradient.
extern "C" __global__ void adam(Parts parts, const double* norm, const Step* step, float beta1, float beta2, float new1,
                                float new2, int decoupled) {
  float scale;
  if (!factor(norm, step, &scale)) return;
  const Part p = parts.at[blockIdx.y];
  const float rate = rate_of(p, step), delta = step->delta, decay = decoupled ? 0 : p.decay;
  const float keep = decoupled ? 1 - step->lr * p.multiplier * p.decay : 1;
  FOR_ELEMENTS(i, p.n) {
    const float w = p.w[i], g = p.g[i] * scale + decay * w;
    const float m = beta1 * p.first[i] + new1 * g, v = beta2 * p.second[i] + new2 * g * g;
    p.first[i] = m;
    p.second[i] = v;
    p.w[i] = w * keep - rate * m / (sqrtf(v) + delta);
  }
}

// ratios: of the rate of each part, null for none.
extern "C" __global__ void sgd(Parts parts, const double* norm, const Step* step, float momentum, int nesterov,
                               const double* ratios) {
  float scale;
  if (!factor(norm, step, &scale)) return;
  const Part p = parts.at[blockIdx.y];
  const float rate = rate_of(p, step) * (ratios ? ratios[blockIdx.y] : 1.0);
  FOR_ELEMENTS(i, p.n) {
    const float w = p.w[i], before = p.first[i];
    const float velocity = momentum * before + rate * (p.g[i] * scale + p.decay * w);
    p.first[i] = velocity;
    p.w[i] = w - (nesterov ? (1 + momentum) * velocity - momentum * before : velocity);
  }
}

// Moves each average toward its parameter by this part of the difference.
extern "C" __global__ void move_average(Parts parts, float part) {
  const Part p = parts.at[blockIdx.y];
  FOR_ELEMENTS(i, p.n) p.first[i] += part * (p.w[i] - p.first[i]);
}

// Deterministic sum over the threads of a block of 256; the first thread has the result.
__device__ __forceinline__ double sum_of_block(double value) {
  __shared__ double sums[256];
  sums[threadIdx.x] = value;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];
}

// Sums of squared gradients: one per block of each part.
extern "C" __global__ void squares(Parts parts, double* sums) {
  const Part p = parts.at[blockIdx.y];
  double sum = 0;
  FOR_ELEMENTS(i, p.n) sum += (double)p.g[i] * p.g[i];
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// One block: the gradient norm, set to non-finite if the loss is.
extern "C" __global__ void join_squares(const double* sums, int n, const double* loss, double* out) {
  double sum = 0;
  for (int i = threadIdx.x; i < n; i += 256) sum += sums[i];
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) *out = sqrt(sum) + 0 * *loss;
}

// Two sums per block of each part: the squares of the weight, and of the gradient with decay.
extern "C" __global__ void trust_squares(Parts parts, const double* norm, const Step* step, double* sums) {
  float scale;
  if (!factor(norm, step, &scale)) return;
  const Part p = parts.at[blockIdx.y];
  double weight = 0, gradient = 0;
  FOR_ELEMENTS(i, p.n) {
    const float w = p.w[i], g = p.g[i] * scale + p.decay * w;
    weight += (double)w * w;
    gradient += (double)g * g;
  }
  double* at = sums + 2 * (blockIdx.y * gridDim.x + blockIdx.x);
  weight = sum_of_block(weight);
  if (threadIdx.x == 0) at[0] = weight;
  __syncthreads();
  gradient = sum_of_block(gradient);
  if (threadIdx.x == 0) at[1] = gradient;
}

// One block per part: its trust ratio, from that many pairs of sums.
extern "C" __global__ void trust_ratios(Parts parts, const double* norm, const double* sums, int blocks, double* ratios) {
  if (!isfinite(*norm)) return;
  const double* at = sums + 2 * blockIdx.x * blocks;
  double weight = 0, gradient = 0;
  for (int i = threadIdx.x; i < blocks; i += 256) {
    weight += at[2 * i];
    gradient += at[2 * i + 1];
  }
  weight = sum_of_block(weight);
  __syncthreads();
  gradient = sum_of_block(gradient);
  if (threadIdx.x > 0) return;
  const float coefficient = parts.at[blockIdx.x].trust_coefficient;
  const bool adapted = coefficient > 0 && weight > 0 && gradient > 0;
  ratios[blockIdx.x] = adapted ? coefficient * sqrt(weight) / sqrt(gradient) : 1.0;
}

extern "C" __global__ void add_gradient(float* sum, const float* g, long long n) {
  FOR_ELEMENTS(i, n) sum[i] += g[i];
}
