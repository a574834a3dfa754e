import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Grammar } from '../../shared/wire.ts'
import { FairTurns } from './fair-turns.ts'
import { GrammarSession } from './grammar-session.ts'
import { HeldGrammars } from './held-grammars.ts'
import type { FromWorker, GrammarVocabulary, ToWorker, WorkerSetup } from './messages.ts'

export interface GrammarsOptions {
  readonly vocabulary: GrammarVocabulary
  /** Threads that compile grammars and follow texts. */
  readonly workers?: number
  /** Compiled grammars that each thread keeps. */
  readonly maxGrammars?: number
  readonly checkMs?: number
  readonly compileMs?: number
}

interface Following {
  readonly stopTokens: readonly number[]
  /** Whether the model chooses the tokens of a text too where the grammar leaves that text alone. False when absent. */
  readonly isSpelledFreely?: boolean
}

/** A request that was sent to a thread. */
interface Call {
  readonly resolve: (answer: FromWorker) => void
}

/** How long a grammar that compiled elsewhere may take on a thread that follows texts. */
const provenMs = 120_000
/**
 * On a busy machine others have the processor for most of the time. So a call that has taken its time goes on until its thread
 * has had the processor for this share of it, where Node tells that (24.6), and for so many times as long at most.
 */
const leastShare = 0.5
const mostWaits = 6

/**
 * The grammars of a node. They are compiled in threads, away from the model's, one after the other. A grammar is first
 * parsed in a thread that nobody depends on, as one that xgrammar cannot take ends its thread; then it is compiled in a
 * thread that follows no text, as one that takes too long ends its thread as well. Only what has compiled there is
 * compiled on a thread that follows texts, where all do.
 */
export class Grammars {
  readonly #options: Required<GrammarsOptions>
  /** Threads that texts may be followed on. */
  #threads: Thread[] = []
  /** A thread with no text, beyond the others. */
  #spare: Thread | undefined
  #checker: Thread | undefined
  readonly #turns = new FairTurns()
  #sessions = 0

  constructor(options: GrammarsOptions) {
    this.#options = { workers: 2, maxGrammars: 64, checkMs: 10_000, compileMs: 10_000, ...options }
  }

  /**
   * A text that follows `grammar` from its beginning. New grammars wait for one another; `owner`s take turns. Throws
   * `grammar_invalid` for one that cannot be taken.
   */
  async open(
    grammar: Grammar,
    { owner = '', ...following }: Following & { readonly owner?: string },
  ): Promise<GrammarSession> {
    const hash = await sha256Hex(JSON.stringify(grammar))
    const holding = this.#holding(hash)
    if (holding !== undefined) return this.#follow(hash, { thread: holding, owner, ...following })
    return this.#turns.take(owner, async () => {
      // Another may have asked for the same one.
      const thread = this.#holding(hash) ?? (await this.#add(hash, { grammar, owner }))
      // Within the turn: the next grammar takes a thread that follows no text.
      return this.#follow(hash, { thread, owner, ...following })
    })
  }

  #follow(
    hash: string,
    {
      isSpelledFreely = false,
      owner,
      stopTokens,
      thread,
    }: Following & { readonly owner: string; readonly thread: Thread },
  ): GrammarSession {
    thread.touch(hash, owner)
    const vocab = this.#options.vocabulary.tokens.length
    return new GrammarSession({ thread, hash, id: this.#sessions++, vocab, stopTokens, isSpelledFreely })
  }

  async close(): Promise<void> {
    const threads = [...this.#threads, this.#spare, this.#checker]
    await Promise.all(threads.map((thread) => thread?.end()))
  }

  #holding(hash: string): Thread | undefined {
    return this.#threads.find((thread) => thread.holds(hash))
  }

  /** The thread that has compiled a new grammar. */
  async #add(
    hash: string,
    { grammar, owner }: { readonly grammar: Grammar; readonly owner: string },
  ): Promise<Thread> {
    const { checkMs, compileMs, maxGrammars, vocabulary, workers } = this.#options
    if (this.#checker?.isBroken !== false) this.#checker = new Thread({ task: 'check' })
    await this.#checker.ask({ type: 'check', hash, grammar }, checkMs)
    this.#threads = this.#threads.filter(({ isBroken }) => !isBroken)
    const idle = this.#threads.find(({ isIdle }) => isIdle) ?? this.#spare
    const thread = idle ?? new Thread({ task: 'match', vocabulary }, maxGrammars)
    // Until it has compiled, no other request may depend on it.
    this.#threads = this.#threads.filter((other) => other !== thread)
    if (this.#spare === thread) this.#spare = undefined
    await thread.compile(hash, { grammar, owner, ms: compileMs })
    if (this.#threads.length < workers) {
      this.#threads.push(thread)
      return thread
    }
    this.#spare = thread
    const [busy] = this.#threads.toSorted((a, b) => a.load - b.load)
    if (busy === undefined) return thread
    await busy.compile(hash, { grammar, owner, ms: provenMs })
    return busy
  }
}

/** One worker thread. */
export class Thread {
  readonly #worker: Worker
  readonly #calls = new Map<number, Call>()
  readonly #compiled: HeldGrammars
  readonly #sessions = new Set<GrammarSession>()
  #nextCall = 0
  #isBroken = false

  constructor(setup: WorkerSetup, maxGrammars = 0) {
    this.#compiled = new HeldGrammars(maxGrammars)
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: setup })
    this.#worker.unref()
    this.#worker.on('message', (answer: FromWorker) => {
      this.#calls.get(answer.call)?.resolve(answer)
      this.#calls.delete(answer.call)
      if (answer.broken === true) this.#break(answer.refusal)
    })
    this.#worker.on('error', (error) => this.#break(error.message))
    this.#worker.on('exit', () => this.#break('its thread ended'))
  }

  get isBroken(): boolean {
    return this.#isBroken
  }

  /** Texts that it follows. */
  get load(): number {
    return this.#sessions.size
  }

  get isIdle(): boolean {
    return this.#sessions.size === 0
  }

  holds(hash: string): boolean {
    return !this.#isBroken && this.#compiled.has(hash)
  }

  async compile(
    hash: string,
    { grammar, ms, owner }: { readonly grammar: Grammar; readonly ms: number; readonly owner: string },
  ): Promise<void> {
    await this.ask({ type: 'compile', hash, grammar }, ms)
    // Texts that follow one go on: they hold it themselves.
    for (const gone of this.#compiled.add(hash, owner)) this.tell({ type: 'forget', hash: gone })
  }

  /** A grammar that it holds is used: it is the last to be forgotten. */
  touch(hash: string, owner: string): void {
    this.#compiled.use(hash, owner)
  }

  /**
   * Resolves when the thread has done it. Throws `grammar_invalid` with the thread's reason, or when it takes too long.
   */
  async ask(
    message: { readonly type: 'check' | 'compile'; readonly hash: string; readonly grammar: Grammar },
    ms: number,
  ): Promise<void> {
    const call = this.#nextCall++
    const { promise, resolve } = Promise.withResolvers<FromWorker>()
    this.#calls.set(call, { resolve })
    this.tell({ ...message, call })
    const tooLong = () => this.#break(`it takes longer than ${ms / 1000} s; make it smaller`)
    const tellsTime = this.#worker.cpuUsage !== undefined
    const late = setTimeout(tooLong, tellsTime ? mostWaits * ms : ms)
    const answered = new AbortController()
    if (tellsTime) this.#worked(ms, answered.signal).then(tooLong, () => undefined)
    try {
      const { refusal } = await promise
      if (refusal !== undefined)
        throw new QuartetError('grammar_invalid', `it cannot be compiled: ${refusal}`, { param: 'grammar' })
    } finally {
      answered.abort()
      clearTimeout(late)
    }
  }

  /** Resolves after `ms` in which the thread had its share of the processor; rejects when `signal` aborts. */
  async #worked(ms: number, signal: AbortSignal): Promise<void> {
    const least = (await this.#processorMs()) + ms * leastShare
    await delay(ms, undefined, { signal })
    while ((await this.#processorMs()) < least) await delay(ms / 20, undefined, { signal })
    signal.throwIfAborted()
  }

  /** The time that the thread has had the processor for; 0 before it runs. */
  async #processorMs(): Promise<number> {
    const { system, user } = await this.#worker.cpuUsage().catch(() => ({ system: 0, user: 0 }))
    return (system + user) / 1000
  }

  tell(message: ToWorker): void {
    this.#worker.postMessage(message)
  }

  follow(session: GrammarSession): void {
    this.#sessions.add(session)
  }

  leave(session: GrammarSession): void {
    this.#sessions.delete(session)
  }

  async end(): Promise<void> {
    this.#break('the node shuts down')
    await this.#worker.terminate()
  }

  #break(reason = 'its thread failed'): void {
    if (this.#isBroken) return
    this.#isBroken = true
    for (const [call, { resolve }] of this.#calls) resolve({ call, refusal: reason })
    this.#calls.clear()
    for (const session of this.#sessions) session.fail()
    this.#worker.terminate().catch(() => undefined)
  }
}
