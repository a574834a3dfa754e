import type { ModelConfig } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import type { ElementType, Shape, Value } from './values.ts'

/**
 * How a layer makes its prompt rows, in the order of the graph input `prompt.program`. `general` does what the other
 * two do and all the rest; they are there because every choice that a layer makes while the graph runs takes time.
 *
 * - `generated`: every layer has a generator with attention pooling; rows are not carried on.
 * - `fixed`: rows that do not depend on the instruction.
 * - `general`: any pooling, layers that share a generator, rows that are carried on.
 */
export const programs = ['generated', 'fixed', 'general'] as const
export type Program = (typeof programs)[number]

/** Graph inputs that carry one adapter, all layers of a tensor in one; nothing of them is read without prompts. */
export interface PromptInputs {
  /** bool [1], layer by layer: it makes prompt rows in this run, for a sequence that is a batch of one. */
  readonly made: readonly Value[]
  /** int64 scalar: index into `programs`. */
  readonly program: Value
  /** int64 [l_sp + n]: which token stands at each place of the layer's sequence; any where a prompt row will. */
  readonly order: Value
  /** int64 [l_sp, 1]: the places of the prompt rows. */
  readonly places: Value
  /** int64 [1] each: the first of the chunk's tokens that is of the instruction, and the first behind it. */
  readonly instruction: { readonly start: Value; readonly end: Value }
  /** f32 [layers, 1 or l_sp, d]: s_l, or rows that must stay exact. */
  readonly anchor: Value
  /** f16 [own anchors, 1 or l_sp, d]: the adapter's own anchors. */
  readonly own: Value
  /** f16 [layers, 1 or l_sp, d]: static rows. */
  readonly static: Value
  /** f16 [generators, d, m] */
  readonly down: Value
  /** f16 [generators, m, l_sp] */
  readonly query: Value
  /** f16 [generators, m, d or l_sp·d] */
  readonly up: Value
  /** f32 [generators, 12] */
  readonly rational: Value
  /** int64 scalar: index into `activations`. */
  readonly activation: Value
  /** Inputs of the program `general` alone. */
  readonly general: {
    /** int64 scalar: index into `pools`. */
    readonly pool: Value
    /** f32 [1, m]: the instruction, pooled already. */
    readonly given: Value
    /** bool scalar: the rows stay in the residual stream, and are ordinary rows from here on. */
    readonly carried: Value
    /** int64 [layers] each: which generator, and which of the own anchors, is a layer's. */
    readonly generatorOf: Value
    readonly ownOf: Value
  }
}

/** Computes the one of `ways` whose place among `names` is `index`, an int64 scalar, when the graph runs. */
export function select<Name extends string>(
  g: GraphBuilder,
  index: Value,
  { names, ways }: { names: readonly Name[]; ways: { readonly [N in Name]: () => Value } },
): Value {
  const from = (place: number): Value => {
    const name = names[place]
    if (name === undefined) throw new Error('there is nothing to select')
    if (place === names.length - 1) return ways[name]()
    return g.choose(isAt(g, index, place), { when: ways[name], otherwise: () => from(place + 1) })
  }
  return from(0)
}

export function isAt(g: GraphBuilder, index: Value, place: number): Value {
  return g.apply('Equal', [index, g.constant('int64', [place], [])])
}

export function promptInputs(g: GraphBuilder, { layers, d }: ModelConfig): PromptInputs {
  const input = (name: string, type: ElementType, shape: Shape) => g.input(`prompt.${name}`, type, shape)
  return {
    made: perLayer(g, input('made', 'bool', [layers]), {
      sizes: g.constant('int64', Array<number>(layers).fill(1)),
    }),
    program: input('program', 'int64', []),
    order: input('order', 'int64', ['layer_rows']),
    places: input('places', 'int64', ['prompt_rows', 1]),
    instruction: {
      start: input('instruction_start', 'int64', [1]),
      end: input('instruction_end', 'int64', [1]),
    },
    anchor: input('anchor', 'float32', [layers, 'anchor_rows', d]),
    own: input('own', 'float16', ['own_layers', 'own_rows', d]),
    static: input('static', 'float16', [layers, 'static_rows', d]),
    down: input('down', 'float16', ['generators', d, 'm']),
    query: input('query', 'float16', ['generators', 'm', 'prompt_rows']),
    up: input('up', 'float16', ['generators', 'm', 'width']),
    rational: input('rational', 'float32', ['generators', 12]),
    activation: input('activation', 'int64', []),
    general: {
      pool: input('pool', 'int64', []),
      given: input('given', 'float32', [1, 'm']),
      carried: input('carried', 'bool', []),
      generatorOf: input('generator_of', 'int64', [layers]),
      ownOf: input('own_of', 'int64', [layers]),
    },
  }
}

/** Inputs that hold a value for each layer, one behind the other. */
const layered = ['prompt.made', 'last_row', 'total_rows', 'token_rows'] as const

const splitNode = (input: string) => `${input}.layers`

/** Each layer's part of such an input, in one op for all of them. `sizes` int64 [layers]: the sizes of the parts. */
export function perLayer(g: GraphBuilder, input: Value, { sizes }: { sizes: Value }): readonly Value[] {
  return g.applyNamed(splitNode(input.name), 'Split', { inputs: [input, sizes], attributes: { axis: 0 } })
}

/** The inputs in 16-bit floats. */
const halfInputs = ['own', 'static', 'down', 'query', 'up'] as const

/**
 * The same in each branch of each layer, where they are unique: ONNX Runtime takes a list of at most 8192 bytes of nodes
 * that stay on the CPU, too few for a name for each layer.
 */
const halfNodes = (input: string) => ({ gather: `${input}.gather`, cast: `${input}.cast` })

/** One layer's slice of an input in 16-bit floats, in f32. `index` int64 scalar: which slice. */
export function halfSlice(g: GraphBuilder, input: Value, index: Value): Value {
  const names = halfNodes(input.name)
  const [half] = g.applyNamed(names.gather, 'Gather', { inputs: [input, index], attributes: { axis: 0 } })
  const [slice] = g.applyNamed(names.cast, 'Cast', { inputs: [half], attributes: { to: 'float32' } })
  return slice
}

/** Names of the nodes that a GPU cannot run, or that only steer those that it does: they stay on the CPU. */
export function hostNodes({ attention }: Pick<ModelConfig, 'attention'>): string[] {
  const windowed = attention?.some(({ window }) => window !== null) ?? false
  const halves = halfInputs.flatMap((input) => Object.values(halfNodes(`prompt.${input}`)))
  return [...[...layered, ...(windowed ? ['prefix_rows'] : [])].map(splitNode), ...halves]
}
