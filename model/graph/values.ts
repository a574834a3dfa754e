/** Element types of tensors in a graph, and their size in bytes. */
export const elementSizes = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int8: 1,
  uint8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
} as const
export type ElementType = keyof typeof elementSizes

/** A size known when the graph is built, or the name of one known when it runs. */
export type Dim = number | string
export type Shape = readonly Dim[]

export interface ValueType {
  readonly type: ElementType
  readonly shape: Shape
}

/** A tensor in a graph: an input, an initializer or a node's output. */
export interface Value extends ValueType {
  readonly name: string
}

/** A size the graph's own computation decides; equal to no other. */
export const unknownDim = '?'

/** Shape of an element-wise result (https://onnx.ai/onnx/repo-docs/Broadcasting.html). Throws on a mismatch. */
export function broadcast(...shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) => {
    const dims = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1).filter((dim) => dim !== 1)
    const [first = 1] = dims
    const fixed = dims.find((dim) => typeof dim === 'number') ?? first
    if (dims.some((dim) => typeof dim === 'number' && dim !== fixed))
      throw new Error(`shapes [${shapes.map((shape) => shape.join()).join('] and [')}] do not broadcast`)
    return fixed
  })
}

/** `shape[axis]`, counted from the end when negative. Throws when there is no such axis. */
export function dimAt(shape: Shape, axis: number): Dim {
  const dim = shape.at(axis)
  if (dim === undefined) throw new Error(`shape [${shape}] has no axis ${axis}`)
  return dim
}

/** `shape` with `dims` in place of what it has at `axis`. */
export function withDims(shape: Shape, axis: number, ...dims: readonly Dim[]): Shape {
  const at = axis < 0 ? axis + shape.length : axis
  return [...shape.slice(0, at), ...dims, ...shape.slice(at + 1)]
}

/** The same value with the shape that its op could not tell. */
export function shaped(value: Value, shape: Shape): Value {
  return { ...value, shape }
}
