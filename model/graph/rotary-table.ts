import type { ModelConfig, Rotary } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import type { Value } from './values.ts'
import type { WeightLayout } from './weight-file.ts'

/** Tables of f32 [positions, dims / 2]. */
export interface RotaryTables {
  readonly cos: Value
  readonly sin: Value
}

/**
 * The tables of each of the model's `rotary`. Those with factors for long sequences have a second table behind the
 * first, from position `contextLength` on.
 */
export function rotaryTables(
  g: GraphBuilder,
  { config, weights }: { config: ModelConfig; weights: WeightLayout },
): readonly RotaryTables[] {
  return config.rotary.map((rotary, index) => {
    const shape = [config.contextLength * (rotary.beyond ? 2 : 1), (rotary.dims ?? config.headDim) / 2]
    const name = index === 0 ? 'rope' : `rope.${index}`
    const table = (part: 'cos' | 'sin') =>
      weights.table(g, `${name}.${part}`, {
        shape,
        compute: () => angleTable(config, { rotary, f: Math[part] }),
      })
    return { cos: table('cos'), sin: table('sin') }
  })
}

function angleTable(
  { contextLength, headDim }: ModelConfig,
  { rotary, f }: { rotary: Rotary; f: (angle: number) => number },
): Float32Array {
  const { theta, dims = headDim, beyond } = rotary
  const half = dims / 2
  const parts = [rotary, ...(beyond ? [beyond] : [])]
  const table = new Float32Array(parts.length * contextLength * half)
  for (const [part, { factors, magnitude = 1 }] of parts.entries()) {
    const frequencies = Array.from({ length: half }, (_, i) => theta ** (-i / half) / (factors?.[i] ?? 1))
    for (let position = 0; position < contextLength; position++)
      for (const [i, frequency] of frequencies.entries())
        table[(part * contextLength + position) * half + i] = magnitude * f(position * frequency)
  }
  return table
}
