import type { BackboneShape } from '../../shared/backbone.ts'
import type { NodeAddress } from '../../shared/node-address.ts'
import { decodeVector } from '../../shared/vector.ts'
import { GenerateEvent, type GenerateRequest, type Usage } from '../../shared/wire.ts'
import { within } from '../http/within.ts'
import type { NodeAttempt } from '../telemetry/request-report.ts'
import { NodeFailure } from './node-failures.ts'

export interface Asked {
  readonly node: NodeAddress
  readonly request: Pick<GenerateRequest, 'embedding' | 'prompt' | 'promptLogprobs' | 'maxTokens'>
  /** Rows that the adapter makes; 0 for the untuned backbone. */
  readonly promptRows: number
  /** The backbone's: how many tokens it knows, and how many numbers its embeddings have. */
  readonly shape: Pick<BackboneShape, 'd' | 'vocab'>
}

export type EventGroup = readonly GenerateEvent[]

const maxLineLength = 256 * 1024
/** The longest wait for the end of an answer behind its last event. */
const endMs = 100

/**
 * Reads a node's answer: newline-delimited events, in the groups they arrive in, held to what the node was asked for,
 * whatever the node is: tokens of the vocabulary, no more than allowed, and a count that is theirs. An `error` event,
 * what was not asked for, a line that is no event and an end without `done` throw NodeFailure, after what came before.
 */
export class NodeEvents {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #decoder = new TextDecoder()
  readonly #asked: Asked
  readonly #attempt: Pick<NodeAttempt, 'token' | 'end'>
  #rest = ''
  #tokens = 0
  /** Tokens of the prompt whose scores came. */
  #scores = 0
  #hasEmbedding = false
  #isOver = false
  /** The node said `done`. */
  #isDone = false
  #leaving: Promise<void> | undefined
  #failure: NodeFailure | undefined

  constructor(body: ReadableStream<Uint8Array>, { attempt, ...asked }: Asked & { attempt: NodeAttempt }) {
    this.#reader = body.getReader()
    this.#asked = asked
    this.#attempt = attempt
  }

  /** All groups, once the first is there. Leaving early stops the node's work. Throws NodeFailure, here and later. */
  async begin(): Promise<AsyncGenerator<EventGroup, void>> {
    return this.#from(await this.#read())
  }

  async *#from(first: EventGroup | undefined): AsyncGenerator<EventGroup, void> {
    try {
      for (let group = first; group !== undefined; group = await this.#read()) yield group
    } finally {
      await this.#leave()
    }
  }

  /** The next group; undefined behind the last. */
  async #read(): Promise<EventGroup | undefined> {
    try {
      while (!this.#isOver) {
        if (this.#failure !== undefined) throw this.#failure
        const group = this.#checked(await this.#lines())
        if (group.length === 0) continue
        this.#attempt.token()
        return group
      }
      await this.#leave()
      return undefined
    } catch (thrown) {
      const failure =
        thrown instanceof NodeFailure
          ? thrown
          : this.#broken('truncated', `the stream of node ${this.#asked.node.id} broke`, thrown)
      this.#attempt.end(failure.verdict.code)
      await this.#leave()
      throw failure
    }
  }

  /** Stops reading; a node that is not done is told to stop. */
  #leave(): Promise<void> {
    this.#leaving ??= this.#end()
    return this.#leaving
  }

  async #end(): Promise<void> {
    this.#isOver = true
    this.#attempt.end()
    if (this.#isDone && (await this.#endsSoon())) return
    await this.#reader.cancel().catch(() => undefined)
  }

  /**
   * Whether nothing stands behind the last event. The connection serves another call if its answer is read to the end.
   */
  #endsSoon(): Promise<boolean> {
    const work = this.#reader.read().then(({ done }) => done)
    return within(endMs, { work, late: () => false }).catch(() => false)
  }

  /** The lines of one network chunk. */
  async #lines(): Promise<string[]> {
    const { done, value } = await this.#reader.read()
    if (done) {
      const last = this.#rest
      this.#rest = ''
      if (last !== '') return [last]
      throw this.#broken('truncated', `the stream of node ${this.#asked.node.id} ended early`)
    }
    const lines = (this.#rest + this.#decoder.decode(value, { stream: true })).split('\n')
    this.#rest = lines.pop() ?? ''
    if (this.#rest.length > maxLineLength) throw new RangeError('a line is too long')
    return lines
  }

  /** The events of some lines as far as they are sound; a fault of the next line is thrown on the next call. */
  #checked(lines: readonly string[]): GenerateEvent[] {
    const group: GenerateEvent[] = []
    for (const line of lines) {
      if (line === '') continue
      const event =
        parseEvent(line) ?? this.#broken('other', `node ${this.#asked.node.id} sent a line that is no event`)
      this.#failure = event instanceof NodeFailure ? event : this.#failureIn(event)
      if (this.#failure !== undefined || event instanceof NodeFailure) break
      group.push(event)
      if (event.type !== 'done') continue
      this.#isOver = true
      this.#isDone = true
      break
    }
    return group
  }

  #failureIn(event: GenerateEvent): NodeFailure | undefined {
    const {
      node,
      request,
      shape: { d, vocab },
    } = this.#asked
    const broken = (what: string) => this.#broken('other', `node ${node.id} ${what}`)
    switch (event.type) {
      case 'prompt':
        if (event.scores.some(({ top }) => top.some(([id]) => this.#isUnknown(id))))
          return broken(`sent a token that the vocabulary of ${vocab} does not have`)
        this.#scores += event.scores.length
        return this.#tokens > 0 || this.#scores > this.#scored
          ? broken(`sent more of the prompt than the ${this.#scored} scores that it was asked for`)
          : undefined
      case 'token':
        if (this.#scores < this.#scored) return broken('began without the scores of the prompt')
        if (this.#isUnknown(event.id) || event.top?.some(([id]) => this.#isUnknown(id)) === true)
          return broken(`sent a token that the vocabulary of ${vocab} does not have`)
        if ((event.cachedTokens ?? 0) > request.prompt.length)
          return broken(`had more of the prompt at hand than its ${request.prompt.length} tokens`)
        if (this.#tokens === request.maxTokens)
          return broken(`sent more than the ${request.maxTokens} tokens that it was asked for`)
        this.#tokens += 1
        return undefined
      case 'embedding': {
        if (request.embedding === undefined || this.#hasEmbedding)
          return broken('sent an embedding that it was not asked for')
        this.#hasEmbedding = true
        const vector = decodeVector(event.vector)
        return vector?.length === d && vector.every(Number.isFinite)
          ? undefined
          : broken(`sent an embedding that is not ${d} numbers`)
      }
      case 'done': {
        if (this.#scores < this.#scored) return broken('ended without the scores of the prompt')
        if (request.embedding !== undefined && !this.#hasEmbedding)
          return broken('ended without the embedding of the prompt')
        const { promptTokens } = event.usage
        if (this.#isOwn(event.usage) && promptTokens === request.prompt.length) return undefined
        const there = { promptTokens: request.prompt.length, completionTokens: this.#tokens }
        return broken(`counted ${JSON.stringify(event.usage)} where there were ${JSON.stringify(there)}`)
      }
      case 'error':
        return new NodeFailure(event.code, {
          message: `node ${node.id} failed: ${event.code} ${event.message}`,
          // It may have failed within the prompt.
          usage: event.usage !== undefined && this.#isOwn(event.usage) ? event.usage : undefined,
        })
    }
  }

  /** Whether a count can be of this call. */
  #isOwn({ cachedTokens = 0, completionTokens, promptRows = 0, promptTokens }: Usage): boolean {
    const { promptRows: rows, request } = this.#asked
    return (
      completionTokens === this.#tokens &&
      promptTokens <= request.prompt.length &&
      promptRows <= rows &&
      cachedTokens <= promptTokens
    )
  }

  /** The number of scores that it was asked for: one for each of the prompt's tokens but the first. */
  get #scored(): number {
    const { prompt, promptLogprobs } = this.#asked.request
    return promptLogprobs === undefined ? 0 : prompt.length - 1
  }

  #isUnknown(id: number): boolean {
    return id >= this.#asked.shape.vocab
  }

  #broken(cause: 'truncated' | 'other', message: string, thrown?: unknown): NodeFailure {
    return new NodeFailure(cause, { message, thrown })
  }
}

function parseEvent(line: string): GenerateEvent | undefined {
  try {
    const value: unknown = JSON.parse(line)
    if (isPlainToken(value)) return value
    const event = GenerateEvent.safeParse(value)
    return event.success ? event.data : undefined
  } catch {
    return undefined
  }
}

/**
 * A token without log-probabilities, which is nearly every line: as GenerateEvent has it. In workerd zod may not
 * compile its checks (`npm run bench -- edge` counts what a token costs).
 */
function isPlainToken(value: unknown): value is { readonly type: 'token'; readonly id: number } {
  if (typeof value !== 'object' || value === null) return false
  if (!('type' in value) || value.type !== 'token' || !('id' in value)) return false
  const { id } = value
  const isId = typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= 0x7fffffff
  return isId && Object.keys(value).length === 2
}
