import type { ModelConfig, Rotary } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import type { Value } from './values.ts'
import type { WeightLayout } from './weight-file.ts'

/** Tables of f32 [positions, dims / 2]. */
export interface RotaryTables {
  readonly cos: Value
  readonly sin: Value
  /** int32 [batch]: where the angles of a sequence's position 0 stand; at the tables' first row when absent. */
  readonly offset?: Value
}

/** The graph input that says where each sequence has its angles. */
export const tableOffsetInput = 'table_offset'

/** The graph inputs with the angles of one of the model's `rotary` whose base depends on a sequence's length. */
export const dynamicTableInput = (part: 'cos' | 'sin', index: number) => `rope_${part}.${index}`

/** Whether sequences of different lengths have different angles at the same position. */
export const scalesWithLength = ({ rotary }: ModelConfig): boolean =>
  rotary.some(({ beyond, dynamic }) => beyond !== undefined || dynamic !== undefined)

/**
 * The tables for sequences of any length, given those of the trained length: adds the inputs that choose or hold them, of a
 * model that has such.
 */
export function tablesByLength(
  g: GraphBuilder,
  { config, tables }: { config: ModelConfig; tables: readonly RotaryTables[] },
): readonly RotaryTables[] {
  if (!scalesWithLength(config)) return tables
  const offset = g.input(tableOffsetInput, 'int32', ['batch'])
  return tables.map((fixed, index) => {
    const { dims = config.headDim, beyond, dynamic } = config.rotary[index] ?? {}
    if (dynamic === undefined) return beyond === undefined ? fixed : { ...fixed, offset }
    const table = (part: 'cos' | 'sin') =>
      g.input(dynamicTableInput(part, index), 'float32', ['table_rows', dims / 2])
    return { cos: table('cos'), sin: table('sin'), offset }
  })
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
