/** The array that holds the elements of each type of tensor. 16-bit floats are kept as their bits, booleans as 0 and 1. */
export interface ElementArrays {
  readonly float32: Float32Array
  readonly float16: Uint16Array
  readonly bfloat16: Uint16Array
  readonly int64: BigInt64Array
  readonly int32: Int32Array
  readonly int8: Int8Array
  readonly uint8: Uint8Array
  readonly bool: Uint8Array
}

export type TensorElement = keyof ElementArrays

/** A tensor in this process's memory: elements row by row, which a session reads and writes in place. */
export type Tensor = {
  readonly [T in TensorElement]: {
    readonly type: T
    readonly dims: readonly number[]
    readonly data: ElementArrays[T]
  }
}[TensorElement]

/** Tensors by the name of the graph input or output they belong to. */
export type Tensors = Readonly<Record<string, Tensor>>

export function int64(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return { type: 'int64', data: BigInt64Array.from(values, BigInt), dims }
}

export function int32(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return { type: 'int32', data: Int32Array.from(values), dims }
}

export function bool(value: boolean): Tensor {
  return { type: 'bool', data: Uint8Array.of(Number(value)), dims: [] }
}

export function bools(values: readonly boolean[]): Tensor {
  return { type: 'bool', data: Uint8Array.from(values, Number), dims: [values.length] }
}

export function float32(data: Float32Array, dims: readonly number[]): Tensor {
  return { type: 'float32', data, dims }
}

/** A half-precision tensor from its bits. */
export function float16(data: Uint16Array, dims: readonly number[]): Tensor {
  return { type: 'float16', data, dims }
}

/** The values of an f32 tensor. */
export function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.type === 'float32') return tensor.data
  throw new Error(`expected a float32 tensor, found ${tensor?.type ?? 'none'}`)
}
