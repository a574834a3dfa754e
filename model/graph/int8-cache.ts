import proto from 'onnx-proto'
import type { ModelConfig } from '../../shared/backbone.ts'
import { graphVersion } from './version.ts'

const { onnx } = proto
const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

/** Raise it with every change of `withInt8Cache` or of how scales are measured: folders hold what earlier ones wrote. */
export const int8Version = 3

/** The file of the serving graph with an 8-bit cache, beside the one with an f32 cache. */
export const int8CacheGraph = `int8-cache-${graphVersion}-${int8Version}.onnx`

/** Inputs of GroupQueryAttention in front of the scales of keys and values. */
const inputsBeforeScales = 12

/** For each layer [kvHeads, headDim]: a key or value is its scale times a whole number from −128 to 127. */
export interface CacheScales {
  readonly key: Float32Array
  readonly value: Float32Array
}

/**
 * A serving graph whose cache holds 8-bit numbers (`k_quant_type` PER_CHANNEL of `com.microsoft.GroupQueryAttention`): its
 * inputs `past_…` and outputs `present_…` are int8, all else is as it was. `scales`: one for each layer.
 */
export function withInt8Cache(
  model: Uint8Array,
  { config: { headDim, kvHeads }, scales }: { config: ModelConfig; scales: readonly CacheScales[] },
): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  const attentions = (graph?.node ?? []).filter(({ opType }) => opType === 'GroupQueryAttention')
  if (!graph || attentions.length !== scales.length)
    throw new Error(`${attentions.length} attentions have ${scales.length} pairs of scales`)
  const initializers = graph.initializer ?? []
  for (const [layer, node] of attentions.entries()) {
    const { key = new Float32Array(), value = new Float32Array() } = scales[layer] ?? {}
    const [k, v] = [`key_scale.${layer}`, `value_scale.${layer}`]
    for (const [name, values] of [
      [k, key],
      [v, value],
    ] as const)
      initializers.push({
        name,
        dataType: DataType.FLOAT,
        dims: [1, kvHeads, 1, headDim],
        rawData: new Uint8Array(values.slice().buffer),
      })
    const inputs = node.input ?? []
    const none = Array<string>(inputsBeforeScales - inputs.length).fill('')
    node.input = [...inputs, ...none, k, v]
    node.attribute = [
      ...(node.attribute ?? []),
      ...['k_quant_type', 'v_quant_type'].map((name) => ({
        name,
        type: AttributeType.STRING,
        s: new TextEncoder().encode('PER_CHANNEL'),
      })),
      { name: 'kv_cache_bit_width', type: AttributeType.INT, i: 8 },
    ]
  }
  graph.initializer = initializers
  for (const { name, type } of [...(graph.input ?? []), ...(graph.output ?? [])])
    if (/^(past|present)_/.test(name ?? '') && type?.tensorType) type.tensorType.elemType = DataType.INT8
  return onnx.ModelProto.encode(decoded).finish()
}
