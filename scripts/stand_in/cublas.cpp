// cuBLAS of the stand-in: matrix products in column-major order, computed one element after another
// with f32 sums (f64 for f64). Scalars are read from host memory when the call is made.
#include <vector>

#include "elements.h"

using namespace stand_in;

struct cublasContext {
  CUstream_st* stream = nullptr;
  int math = 0;
};

namespace {
enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Compute { F16 = 64, F16_PEDANTIC = 65, F64 = 70, F64_PEDANTIC = 71 };

Type type_of(int cuda_data_type) {
  switch (cuda_data_type) {
    case 0: return Type::F32;
    case 1: return Type::F64;
    case 2: return Type::F16;
    case 14: return Type::BF16;
    default: return Type::None;
  }
}

struct Matrix {
  void* data;
  Type type;
  long ld;
  long long stride;
  bool transposed;
  // element (i, j) of the operand after transposition
  size_t at(long b, long i, long j) const {
    return static_cast<size_t>(b * stride + (transposed ? j + i * ld : i + j * ld));
  }
};

struct Product {
  long m, n, k, batch;
  Matrix a, b, c;
  double alpha, beta;
};

template <class Acc>
void multiply(const Product& p) {
  std::vector<Acc> a(static_cast<size_t>(p.m * p.k)), row(static_cast<size_t>(p.m));
  for (long batch = 0; batch < p.batch; ++batch) {
    for (long l = 0; l < p.k; ++l)
      for (long i = 0; i < p.m; ++i) a[static_cast<size_t>(l * p.m + i)] = get<Acc>(p.a.data, p.a.type, p.a.at(batch, i, l));
    for (long j = 0; j < p.n; ++j) {
      std::fill(row.begin(), row.end(), Acc(0));
      for (long l = 0; l < p.k; ++l) {
        const Acc b = get<Acc>(p.b.data, p.b.type, p.b.at(batch, l, j));
        const Acc* column = &a[static_cast<size_t>(l * p.m)];
        for (long i = 0; i < p.m; ++i) row[static_cast<size_t>(i)] += column[i] * b;
      }
      for (long i = 0; i < p.m; ++i) {
        const size_t at = p.c.at(batch, i, j);
        Acc v = static_cast<Acc>(p.alpha) * row[static_cast<size_t>(i)];
        if (p.beta != 0.0) v += static_cast<Acc>(p.beta) * get<Acc>(p.c.data, p.c.type, at);
        put(p.c.data, p.c.type, at, v);
      }
    }
  }
}

bool good(const Matrix& m, long rows, long columns, long batch, const char* who) {
  const long stored_rows = m.transposed ? columns : rows, stored_columns = m.transposed ? rows : columns;
  if (m.ld < stored_rows || m.ld < 1) {
    stand_in_complain("%s: leading dimension %ld of a matrix with %ld rows", who, m.ld, stored_rows);
    return false;
  }
  if (!rows || !columns) return true;
  const long long reach = (batch - 1) * m.stride + (stored_columns - 1) * m.ld + stored_rows;
  return stand_in_on_device(m.data, static_cast<size_t>(reach) * size_of(m.type), who);
}

int product(cublasContext* h, const char* who, Product p, int ta, int tb, bool f64) {
  if (!h) return NOT_INITIALIZED;
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0 || ta < 0 || ta > 2 || tb < 0 || tb > 2) return INVALID_VALUE;
  if (p.a.type == Type::None || p.a.type != p.b.type || p.c.type == Type::None) {
    stand_in_complain("%s: these number types are not supported together", who);
    return NOT_SUPPORTED;
  }
  if (f64 != (p.a.type == Type::F64) || (f64 != (p.c.type == Type::F64))) return NOT_SUPPORTED;
  if (!p.m || !p.n || !p.batch) return SUCCESS;
  if (!good(p.a, p.m, p.k, p.batch, who) || !good(p.b, p.k, p.n, p.batch, who) || !good(p.c, p.m, p.n, p.batch, who))
    return INVALID_VALUE;
  stand_in_enqueue(h->stream, who, [=] { f64 ? multiply<double>(p) : multiply<float>(p); });
  return SUCCESS;
}

double scalar(const void* p, int compute) {
  if (compute == F64 || compute == F64_PEDANTIC) return *static_cast<const double*>(p);
  if (compute == F16 || compute == F16_PEDANTIC) return float(*static_cast<const __half*>(p));
  return *static_cast<const float*>(p);
}

Matrix operand(const void* p, int type, long ld, long long stride, int op) {
  return {const_cast<void*>(p), type_of(type), ld, stride, op != 0};
}
}  // namespace

#define API extern "C" STAND_IN_API int
API cublasCreate_v2(cublasContext** h) { *h = new cublasContext; return SUCCESS; }
API cublasDestroy_v2(cublasContext* h) { delete h; return SUCCESS; }
API cublasGetVersion_v2(cublasContext*, int* version) { *version = 130100; return SUCCESS; }
API cublasSetStream_v2(cublasContext* h, CUstream_st* s) { h->stream = s; return SUCCESS; }
API cublasGetStream_v2(cublasContext* h, CUstream_st** s) { *s = h->stream; return SUCCESS; }
API cublasSetMathMode(cublasContext* h, int mode) { h->math = mode; return SUCCESS; }
API cublasGetMathMode(cublasContext* h, int* mode) { *mode = h->math; return SUCCESS; }
API cublasSetAtomicsMode(cublasContext*, int) { return SUCCESS; }
API cublasSetWorkspace_v2(cublasContext*, void* p, size_t bytes) {
  return !bytes || stand_in_on_device(p, bytes, "cublasSetWorkspace") ? SUCCESS : INVALID_VALUE;
}
API cublasGetPointerMode_v2(cublasContext*, int* mode) { *mode = 0; return SUCCESS; }
API cublasSetPointerMode_v2(cublasContext*, int mode) { return mode == 0 ? SUCCESS : NOT_SUPPORTED; }
extern "C" STAND_IN_API const char* cublasGetStatusString(int s) {
  return s == SUCCESS ? "CUBLAS_STATUS_SUCCESS" : s == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE";
}

API cublasGemmStridedBatchedEx(cublasContext* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at,
                               int lda, long long sa, const void* b, int bt, int ldb, long long sb, const void* beta, void* c,
                               int ct, int ldc, long long sc, int batch, int compute, int) {
  if (!alpha || !beta) return INVALID_VALUE;
  return product(h, "cublasGemmStridedBatchedEx",
                 {m, n, k, batch, operand(a, at, lda, sa, ta), operand(b, bt, ldb, sb, tb), operand(c, ct, ldc, sc, 0),
                  scalar(alpha, compute), scalar(beta, compute)},
                 ta, tb, compute == F64 || compute == F64_PEDANTIC);
}
API cublasGemmEx(cublasContext* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda,
                 const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc, int compute, int) {
  if (!alpha || !beta) return INVALID_VALUE;
  return product(h, "cublasGemmEx",
                 {m, n, k, 1, operand(a, at, lda, 0, ta), operand(b, bt, ldb, 0, tb), operand(c, ct, ldc, 0, 0),
                  scalar(alpha, compute), scalar(beta, compute)},
                 ta, tb, compute == F64 || compute == F64_PEDANTIC);
}

#define STAND_IN_GEMM(L, T, CODE)                                                                                          \
  API cublas##L##gemmStridedBatched(cublasContext* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a,      \
                                    int lda, long long sa, const T* b, int ldb, long long sb, const T* beta, T* c, int ldc, \
                                    long long sc, int batch) {                                                             \
    return product(h, "cublas" #L "gemmStridedBatched",                                                                    \
                   {m, n, k, batch, operand(a, CODE, lda, sa, ta), operand(b, CODE, ldb, sb, tb),                          \
                    operand(c, CODE, ldc, sc, 0), *alpha, *beta}, ta, tb, CODE == 1);                                      \
  }                                                                                                                        \
  API cublas##L##gemm_v2(cublasContext* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda,        \
                         const T* b, int ldb, const T* beta, T* c, int ldc) {                                              \
    return product(h, "cublas" #L "gemm",                                                                                  \
                   {m, n, k, 1, operand(a, CODE, lda, 0, ta), operand(b, CODE, ldb, 0, tb), operand(c, CODE, ldc, 0, 0),   \
                    *alpha, *beta}, ta, tb, CODE == 1);                                                                    \
  }
STAND_IN_GEMM(S, float, 0)
STAND_IN_GEMM(D, double, 1)
