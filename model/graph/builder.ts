import type { Graph, GraphNode, Initializer } from './graph.ts'
import { opRows } from './op-rows.ts'
import type { OpName, Ops } from './ops.ts'
import type { ElementType, Shape, Value, ValueType } from './values.ts'

/** The values that an op gives: one for each output type, undefined for one that is left out. */
export type Results<N extends OpName> = ResultsOf<Ops[N]['outputs']>
type ResultsOf<Types extends readonly unknown[]> = {
  [I in keyof Types]: Types[I] extends ValueType ? Value : undefined
}

/** Attributes may be left out where an op has none. */
type AttributesArgument<N extends OpName> =
  Record<never, never> extends Ops[N]['attributes']
    ? [attributes?: Ops[N]['attributes']]
    : [attributes: Ops[N]['attributes']]

/** Writes a graph down, node by node. */
export class GraphBuilder {
  readonly #inputs: Value[] = []
  readonly #outputs = new Map<string, Value>()
  readonly #initializers = new Map<string, Initializer>()
  readonly #used = new Set<string>()
  #nodes: GraphNode[] = []
  #count = 0

  input(name: string, type: ElementType, shape: Shape): Value {
    const value = { name, type, shape }
    this.#inputs.push(value)
    return value
  }

  /** Makes `value`, the result of an op, an output of the graph under this name. */
  output(name: string, value: Value): void {
    this.#outputs.set(name, value)
  }

  /** A constant; left out of the graph when no node takes it. */
  initializer(initializer: Initializer): Value {
    this.#initializers.set(initializer.name, initializer)
    const { name, type, shape } = initializer
    return { name, type, shape }
  }

  /** A small constant tensor; equal ones are stored once. */
  constant(type: NumberType, numbers: readonly number[], shape: Shape = [numbers.length]): Value {
    const bytes = encodeNumbers[type](numbers)
    return this.initializer({ name: `${type}[${shape}]:${numbers}`, type, shape, content: { bytes } })
  }

  /** Applies an op; its first result. */
  apply<N extends OpName>(op: N, inputs: Ops[N]['inputs'], ...rest: AttributesArgument<N>): Value {
    const result = this.#append(op, { inputs, attributes: rest[0] ?? {} })[0]
    if (result === undefined) throw new Error(`${op} gives no value`)
    return result
  }

  /** Applies an op; all its results. */
  applyAll<N extends OpName>(op: N, inputs: Ops[N]['inputs'], ...rest: AttributesArgument<N>): Results<N> {
    // One value for each output type, as `Results` says: `map` forgets the tuple's length.
    return this.#append(op, { inputs, attributes: rest[0] ?? {} }) as Results<N>
  }

  /** Applies an op under a name of its own, for session settings that name nodes; all its results. */
  applyNamed<N extends OpName>(
    name: string,
    op: N,
    { inputs, attributes }: Pick<Ops[N], 'inputs' | 'attributes'>,
  ): Results<N> {
    return this.#append(op, { inputs, attributes, name }) as Results<N>
  }

  /** `when` where the condition holds when the graph runs, else `otherwise`; only that branch is computed. */
  choose(condition: Value, { when, otherwise }: { when: () => Value; otherwise: () => Value }): Value {
    const [chosen] = this.#if(condition, { when: () => [when()], otherwise: () => [otherwise()] })
    if (chosen === undefined) throw new Error('If gives no value')
    return chosen
  }

  /** The same for two values at once. */
  choosePair(
    condition: Value,
    { when, otherwise }: { when: () => readonly [Value, Value]; otherwise: () => readonly [Value, Value] },
  ): readonly [Value, Value] {
    const [first, second] = this.#if(condition, { when, otherwise })
    if (first === undefined || second === undefined) throw new Error('If gives no two values')
    return [first, second]
  }

  /** The nodes so far, in order; those of a branch are in its `If`. */
  get nodes(): readonly GraphNode[] {
    return this.#nodes
  }

  /** Applies a node's op once more, to other inputs; its results. */
  repeat({ op, attributes }: GraphNode, inputs: GraphNode['inputs']): readonly (Value | undefined)[] {
    // The node was made by `apply`, which held its inputs and attributes to this op.
    return this.#append(op, { inputs, attributes } as Pick<Ops[typeof op], 'inputs' | 'attributes'>)
  }

  build(name: string): Graph {
    return {
      name,
      inputs: this.#inputs,
      outputs: this.#outputs,
      initializers: [...this.#initializers.values()].filter(({ name }) => this.#used.has(name)),
      nodes: this.#nodes,
    }
  }

  #append<N extends OpName>(
    op: N,
    {
      inputs,
      attributes,
      name = `${op}.${this.#count++}`,
    }: Pick<Ops[N], 'inputs' | 'attributes'> & { name?: string },
  ): readonly (Value | undefined)[] {
    const types: readonly (ValueType | undefined)[] = opRows[op].outputs(inputs, attributes)
    const outputs = types.map(
      (type, index) => type && { ...type, name: index === 0 ? name : `${name}.${index}` },
    )
    for (const input of inputs) if (input !== undefined) this.#used.add(input.name)
    this.#nodes.push({ op, name, inputs, outputs, attributes })
    return outputs
  }

  #if(
    condition: Value,
    { when, otherwise }: { when: () => readonly Value[]; otherwise: () => readonly Value[] },
  ): readonly Value[] {
    const branches = { then_branch: this.#branch(when), else_branch: this.#branch(otherwise) }
    return this.applyAll('If', [condition], branches)
  }

  #branch(write: () => readonly Value[]): Graph {
    const around = this.#nodes
    this.#nodes = []
    const results = write()
    const own = new Set(this.#nodes.flatMap(({ outputs }) => outputs.map((output) => output?.name)))
    // A branch gives what its own nodes made; a value from around it must pass through one.
    const outputs = results.map((value) => (own.has(value.name) ? value : this.apply('Identity', [value])))
    const nodes = this.#nodes
    this.#nodes = around
    const name = `branch.${this.#count++}`
    return {
      name,
      inputs: [],
      outputs: new Map(outputs.map((output) => [output.name, output])),
      initializers: [],
      nodes,
    }
  }
}

const encodeNumbers = {
  float32: (numbers) => new Uint8Array(Float32Array.from(numbers).buffer),
  int32: (numbers) => new Uint8Array(Int32Array.from(numbers).buffer),
  int64: (numbers) => new Uint8Array(BigInt64Array.from(numbers, BigInt).buffer),
} as const satisfies Partial<Record<ElementType, (numbers: readonly number[]) => Uint8Array>>
type NumberType = keyof typeof encodeNumbers
