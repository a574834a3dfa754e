import { Tensor } from 'onnxruntime-node'

/** Tensors by the name of the graph input or output they belong to. */
export type Tensors = Readonly<Record<string, Tensor>>

export function int64(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values, BigInt), dims)
}

export function int32(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return new Tensor('int32', Int32Array.from(values), dims)
}

export function bool(value: boolean): Tensor {
  return new Tensor('bool', [value], [])
}

export function bools(values: readonly boolean[]): Tensor {
  return new Tensor('bool', [...values], [values.length])
}

export function float32(values: Float32Array, dims: readonly number[]): Tensor {
  return new Tensor('float32', values, dims)
}

/**
 * A half-precision tensor from its bits. The binding reads 16-bit floats from a Uint16Array, while `new Tensor` would
 * make a Float16Array of it, of which the binding sees no bytes (onnxruntime-node 1.30 on Node 24).
 */
export function float16(bits: Uint16Array, dims: readonly number[]): Tensor {
  return Object.assign(new Tensor('uint16', bits, dims), { type: 'float16' as const })
}

/** The values of an f32 output. */
export function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data
  throw new Error(`expected a float32 tensor, found ${tensor?.type ?? 'none'}`)
}
