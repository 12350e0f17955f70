// Reads and writes tensors of the library calls, whatever their number type.
#pragma once
#include "numbers.h"
#include "stand_in.h"

namespace stand_in {
enum class Type { F32, F64, F16, BF16, None };

inline size_t size_of(Type t) { return t == Type::F64 ? 8 : t == Type::F32 ? 4 : 2; }

template <class Acc>
Acc get(const void* p, Type t, size_t i) {
  switch (t) {
    case Type::F32: return static_cast<Acc>(static_cast<const float*>(p)[i]);
    case Type::F64: return static_cast<Acc>(static_cast<const double*>(p)[i]);
    case Type::F16: return static_cast<Acc>(float(static_cast<const __half*>(p)[i]));
    default: return static_cast<Acc>(float(static_cast<const __nv_bfloat16*>(p)[i]));
  }
}
template <class Acc>
void put(void* p, Type t, size_t i, Acc v) {
  switch (t) {
    case Type::F32: static_cast<float*>(p)[i] = static_cast<float>(v); break;
    case Type::F64: static_cast<double*>(p)[i] = static_cast<double>(v); break;
    case Type::F16: static_cast<__half*>(p)[i] = __half(v); break;
    default: static_cast<__nv_bfloat16*>(p)[i] = __nv_bfloat16(v); break;
  }
}
}  // namespace stand_in
