import { type Environment, Interpreter, type parse } from '@huggingface/jinja'

type Value = ReturnType<Interpreter['evaluate']>
type Node = NonNullable<Parameters<Interpreter['evaluate']>[0]>
type Program = ReturnType<typeof parse>

/** A template goes beyond what it may take. */
export class TemplateLimit extends Error {}

/** Macros that call themselves, and expressions within expressions. */
const maxDepth = 400
/** A step takes about as long as this many characters of text, or elements of a list, that are copied or compared. */
const perStep = 16
/** The engine makes a dozen objects for an element that a loop reads. */
const perIteration = 16
/** It throws an error inside for a name that nothing has, and for `break` and `continue`. */
const perThrow = 16
const comparisons = 20

/** A parsed template, and its nodes whose values are used up in a way that costs. */
interface TemplateParts {
  readonly program: Program
  readonly nodes: number
  /** Statements, whose values become text. */
  readonly printed: ReadonlySet<Node>
  readonly iterated: ReadonlySet<Node>
  /** Arguments of calls. */
  readonly given: ReadonlySet<Node>
}

export function templateParts(program: Program): TemplateParts {
  const [printed, iterated, given] = [new Set<Node>(), new Set<Node>(), new Set<Node>()]
  const waiting: unknown[] = [program]
  let nodes = 0
  while (waiting.length > 0) {
    const part = waiting.pop()
    if (part instanceof Map) {
      for (const pair of part) waiting.push(...pair)
      continue
    }
    if (Array.isArray(part)) {
      for (const each of part) waiting.push(each)
      continue
    }
    if (!isNode(part)) continue
    nodes += 1
    for (const name of ['body', 'alternate', 'defaultBlock'])
      for (const each of nodesIn(part, name)) printed.add(each)
    for (const argument of nodesIn(part, 'args')) given.add(nodeIn(argument, 'argument') ?? argument)
    const iterable = part.type === 'For' ? nodeIn(part, 'iterable') : undefined
    if (iterable !== undefined)
      iterated.add((iterable.type === 'SelectExpression' ? nodeIn(iterable, 'lhs') : undefined) ?? iterable)
    waiting.push(...Object.values(part))
  }
  return { program, nodes, printed, iterated, given }
}

/** A value in the place of the expression that gave it. */
class Evaluated implements Node {
  readonly type = 'Evaluated'
  readonly value: Value

  constructor(value: Value) {
    this.value = value
  }
}

/**
 * Runs a template for a bounded number of steps. The costs stand in front of what they are for: no operation begins whose
 * result would be too long.
 */
export class BoundedInterpreter extends Interpreter {
  readonly #parts: TemplateParts
  readonly #steps: number
  #left: number
  readonly #methods = new WeakSet<Value>()
  #depth = 0

  constructor(environment: Environment, { parts, steps }: { parts: TemplateParts; steps: number }) {
    super(environment)
    this.#parts = parts
    this.#steps = steps
    this.#left = steps
  }

  /** The template's text. Throws `TemplateLimit`. */
  text(): string {
    return String(this.run(this.#parts.program).value)
  }

  /** Throws `TemplateLimit` when the template has taken all its steps. */
  spend(steps: number): void {
    this.#left -= steps
    if (!(this.#left >= 0)) throw new TemplateLimit(`it takes more than ${this.#steps} steps`)
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (node instanceof Evaluated) return node.value
    if (node === undefined) return super.evaluate(node, environment)
    this.spend(1)
    if (this.#depth >= maxDepth) throw new TemplateLimit('it nests too deep')
    this.#depth += 1
    try {
      const value = this.#evaluate(node, environment)
      const { given, iterated, printed } = this.#parts
      if (iterated.has(node)) this.spend(lengthOf(value) * perIteration)
      if (given.has(node)) this.spend(lengthOf(value) / perStep)
      if (printed.has(node)) this.#spendText(value)
      return value
    } finally {
      this.#depth -= 1
    }
  }

  #evaluate(node: Node, environment: Environment): Value {
    const evaluated = (name: string) => new Evaluated(this.evaluate(nodeIn(node, name), environment))
    switch (node.type) {
      case 'BinaryExpression':
        return this.#binary(node, environment)
      case 'FilterExpression':
        return this.#filter(node, environment)
      case 'FilterStatement': {
        const body = withParts({ type: 'Program' }, { body: nodesIn(node, 'body') })
        const operand = new Evaluated(super.evaluate(body, environment))
        return this.#filter(withParts(node, { operand }), environment)
      }
      case 'MemberExpression': {
        const object = evaluated('object')
        const isSlice = nodeIn(node, 'property')?.type === 'SliceExpression'
        if (isSlice) this.spend(lengthOf(object.value))
        const value = super.evaluate(withParts(node, { object }), environment)
        if (isMethod(object.value, value)) {
          this.spend(perIteration + lengthOf(object.value) / perStep)
          this.#methods.add(value)
        }
        return value
      }
      case 'CallExpression':
        return this.#call(node, environment)
      case 'TestExpression': {
        const operand = evaluated('operand')
        this.spend(lengthOf(operand.value) / perStep)
        return super.evaluate(withParts(node, { operand }), environment)
      }
      case 'Identifier': {
        const value = super.evaluate(node, environment)
        if (value.type === 'UndefinedValue') this.spend(perThrow)
        return value
      }
      case 'Break':
      case 'Continue':
        this.spend(perThrow)
        return super.evaluate(node, environment)
      case 'Macro':
        this.#spendDefinition()
        return super.evaluate(node, environment)
      case 'CallStatement': {
        this.#spendDefinition()
        const called = nodeIn(node, 'call')
        if (called === undefined) return super.evaluate(node, environment)
        const call = withParts(called, { callee: this.#callee(called, environment) })
        return super.evaluate(withParts(node, { call }), environment)
      }
      default:
        return super.evaluate(node, environment)
    }
  }

  #binary(node: Node, environment: Environment): Value {
    const operator = nodeOperator(node)
    // `and` and `or` may leave the right side out.
    if (operator === 'and' || operator === 'or') return super.evaluate(node, environment)
    const left = new Evaluated(this.evaluate(nodeIn(node, 'left'), environment))
    const right = new Evaluated(this.evaluate(nodeIn(node, 'right'), environment))
    const both = [left.value, right.value]
    const isText =
      operator === '~' || isCoerced(left.value, right.value) || isCoerced(right.value, left.value)
    for (const value of both) {
      if (isText) this.#spendText(value)
      else this.spend(lengthOf(value) / perStep)
    }
    return super.evaluate(withParts(node, { left, right }), environment)
  }

  #filter(node: Node, environment: Environment): Value {
    const operand = new Evaluated(this.evaluate(nodeIn(node, 'operand'), environment))
    const filter = nodeIn(node, 'filter')
    const name = filterName(filter)
    // These take their arguments as they are written.
    const isLiteral = name === 'selectattr' || name === 'rejectattr'
    const given = filter === undefined ? [] : nodesIn(filter, 'args')
    const args = isLiteral ? given : given.map((argument) => this.#argument(argument, environment))
    const length = args.reduce((sum, argument) => sum + argumentLength(argument), 0)
    const makesText = name === 'tojson' || name === 'string' || name === 'join'
    const isSorted = name === 'sort' || name === 'dictsort' || name === 'unique'
    if (makesText) this.#spendText(operand.value, name === 'tojson' ? length : 0)
    else this.spend(lengthOf(operand.value) / perStep)
    // A comparison reads both texts, of which each element is part of some twenty.
    if (isSorted) this.#spendSorting(operand.value)
    this.spend((lengthOf(operand.value) * length * (isSorted ? comparisons : 1)) / perStep)
    const called = filter === undefined || filter.type === 'Identifier' ? filter : withParts(filter, { args })
    return super.evaluate(withParts({ type: 'FilterExpression' }, { operand, filter: called }), environment)
  }

  /** An argument with its value in its place. */
  #argument(argument: Node, environment: Environment): Node {
    const evaluated = (name: string) => new Evaluated(this.evaluate(nodeIn(argument, name), environment))
    switch (argument.type) {
      case 'KeywordArgumentExpression':
        return withParts(argument, { value: evaluated('value') })
      case 'SpreadExpression':
      case 'KeywordSpreadExpression':
        return withParts(argument, { argument: evaluated('argument') })
      default:
        return new Evaluated(this.evaluate(argument, environment))
    }
  }

  #call(node: Node, environment: Environment): Value {
    const callee = nodeIn(node, 'callee')
    if (callee?.type !== 'MemberExpression') {
      const called = withParts(node, { callee: this.#callee(node, environment) })
      return this.#made(super.evaluate(called, environment))
    }
    const args = nodesIn(node, 'args').map((argument) => this.#argument(argument, environment))
    const object = new Evaluated(this.evaluate(nodeIn(callee, 'object'), environment))
    const method = new Evaluated(this.evaluate(withParts(callee, { object }), environment))
    if (!isMethod(object.value, method.value)) this.#refuseKept(method.value)
    const length = args.reduce((sum, argument) => sum + argumentLength(argument), 0)
    if (isMethod(object.value, method.value, 'replace'))
      this.spend(((1 + lengthOf(object.value)) * length) / perStep)
    if (isMethod(object.value, method.value, 'dictsort')) this.#spendSorting(object.value)
    return this.#made(super.evaluate(withParts(node, { args, callee: method }), environment))
  }

  #callee(call: Node, environment: Environment): Evaluated {
    const callee = new Evaluated(this.evaluate(nodeIn(call, 'callee'), environment))
    this.#refuseKept(callee.value)
    return callee
  }

  /** A method that was kept would be called without a look at how long its text or mapping is. */
  #refuseKept(called: Value): void {
    if (this.#methods.has(called)) throw new Error('a method must be called where it stands')
  }

  /** A list that a call has made. */
  #made(value: Value): Value {
    this.spend(lengthOf(value) / perStep)
    return value
  }

  /** The engine looks through all of the body. */
  #spendDefinition(): void {
    this.spend(this.#parts.nodes / perStep)
  }

  /** A comparison reads both texts, of which each element is part of some twenty. */
  #spendSorting(value: Value): void {
    for (let read = 0; read < comparisons; read++) this.#spendText(value)
  }

  /** Spends the steps that the text of a value takes; `perLine`: characters that stand in front of each value of a list for each level. */
  #spendText(value: Value, perLine = 0): void {
    const waiting = [{ value, depth: 1 }]
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { depth } = next
      if (depth > maxDepth) throw new TemplateLimit('it nests too deep')
      const content: unknown = next.value.value
      if (typeof content === 'string') this.spend(content.length / perStep)
      else if (Array.isArray(content) || content instanceof Map) {
        this.spend(1 + (depth * perLine) / perStep)
        for (const each of partsOf(next.value)) {
          this.spend((depth * perLine) / perStep + 1 / perStep)
          waiting.push({ value: each, depth: depth + 1 })
        }
      }
    }
  }
}

/** The values in a list or a mapping. */
const partsOf = ({ value }: Value): Iterable<Value> =>
  Array.isArray(value) ? value : value instanceof Map ? value.values() : []

const lengthOf = ({ value }: Value): number =>
  typeof value === 'string' || Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0

/** How much longer an argument can make a result: a text by its length, a width by itself. */
function argumentLength(argument: Node): number {
  const given = argument.type === 'KeywordArgumentExpression' ? nodeIn(argument, 'value') : argument
  const spread = nodeIn(argument, 'argument')
  if (spread instanceof Evaluated)
    return [...partsOf(spread.value)].reduce((sum, each) => sum + valueLength(each), 0)
  return given instanceof Evaluated ? valueLength(given.value) : 0
}

const valueLength = (value: Value): number =>
  typeof value.value === 'number'
    ? Math.abs(value.value)
    : Array.isArray(value.value)
      ? value.value.reduce((sum, each) => sum + lengthOf(each), 0)
      : lengthOf(value)

/** Whether it is a method of the object's own kind: any, or that of this name. */
const isMethod = (object: Value, method: Value, name?: string): boolean =>
  method.type === 'FunctionValue' &&
  (name === undefined ? [...object.builtins.values()].includes(method) : object.builtins.get(name) === method)

/** The engine makes a text of a list to compare it with a text or a number, or to add them. */
const isCoerced = ({ value: list }: Value, { value: other }: Value): boolean =>
  Array.isArray(list) && ['string', 'number', 'boolean'].includes(typeof other)

/** The same node with other parts. */
const withParts = (node: Node, parts: Readonly<Record<string, unknown>>): Node => ({ ...node, ...parts })

function filterName(filter: Node | undefined): string {
  const named = filter?.type === 'CallExpression' ? nodeIn(filter, 'callee') : filter
  const name: unknown = named === undefined ? undefined : Reflect.get(named, 'value')
  return typeof name === 'string' ? name : ''
}

function nodeOperator(node: Node): unknown {
  const operator: unknown = Reflect.get(node, 'operator')
  return typeof operator === 'object' && operator !== null ? Reflect.get(operator, 'value') : undefined
}

const isNode = (part: unknown): part is Node =>
  typeof part === 'object' && part !== null && 'type' in part && typeof part.type === 'string'

function nodeIn(node: Node, name: string): Node | undefined {
  const part: unknown = Reflect.get(node, name)
  return isNode(part) ? part : undefined
}

function nodesIn(node: Node, name: string): readonly Node[] {
  const parts: unknown = Reflect.get(node, name)
  return Array.isArray(parts) ? parts.filter(isNode) : []
}
