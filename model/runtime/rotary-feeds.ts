import type { ModelConfig, Rotary } from '../../shared/backbone.ts'
import { dynamicTableInput, scalesWithLength, tableOffsetInput } from '../graph/rotary-table.ts'
import { float32, int32, type Tensors } from './tensors.ts'

/** A sequence in a run. */
export interface RunSequence {
  /** Rows that it is to have in the end, which choose its angles. */
  readonly rows: number
  /** The run's first position of it in any layer, and the first behind the run's last. */
  readonly start: number
  readonly end: number
}

/** Sequences of different numbers have different angles at the same position. */
export function rotaryVariant({ contextLength, rotary }: ModelConfig, rows: number): number {
  for (const { beyond, dynamic } of rotary) {
    if (dynamic !== undefined) return rows > dynamic.rows ? rows : 0
    if (beyond !== undefined) return rows > beyond.rows ? contextLength : 0
  }
  return 0
}

/** The inputs of a graph whose rotary angles depend on a sequence's length; none for other models. */
export function rotaryFeeds(config: ModelConfig, sequences: readonly RunSequence[]): Tensors {
  if (!scalesWithLength(config)) return {}
  if (!config.rotary.some(({ dynamic }) => dynamic !== undefined))
    return { [tableOffsetInput]: int32(sequences.map(({ rows }) => rotaryVariant(config, rows))) }
  const each = Math.max(...sequences.map(({ start, end }) => end - start))
  // Attention takes no table that is shorter than a sequence.
  const tableRows = Math.max(sequences.length * each, ...sequences.map(({ end }) => end))
  return {
    [tableOffsetInput]: int32(sequences.map(({ start }, index) => index * each - start)),
    ...Object.fromEntries(
      config.rotary.flatMap((rotary, index) =>
        rotary.dynamic === undefined
          ? []
          : (['cos', 'sin'] as const).map((part) => {
              const half = (rotary.dims ?? config.headDim) / 2
              const table = new Float32Array(tableRows * half)
              for (const [place, sequence] of sequences.entries())
                writeAngles(table.subarray(place * each * half), { rotary, half, sequence, f: Math[part] })
              return [dynamicTableInput(part, index), float32(table, [tableRows, half])]
            }),
      ),
    ),
  }
}

/** f of the angles of a sequence's positions, [positions, half]. */
function writeAngles(
  table: Float32Array,
  {
    rotary: { theta, factors, magnitude = 1, dynamic },
    half,
    sequence: { rows, start, end },
    f,
  }: { rotary: Rotary; half: number; sequence: RunSequence; f: (angle: number) => number },
): void {
  const slower = dynamic && rows > dynamic.rows ? 1 + dynamic.factor * (rows / dynamic.rows - 1) : 1
  for (let i = 0; i < half; i++) {
    const frequency = theta ** (-i / half) / ((factors?.[i] ?? 1) * slower ** (dynamic?.exponents[i] ?? 0))
    for (let position = start; position < end; position++)
      table[(position - start) * half + i] = magnitude * f(position * frequency)
  }
}
