import { Worker } from 'node:worker_threads'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Grammar } from '../../shared/wire.ts'
import { GrammarSession } from './grammar-session.ts'
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

/** A request that was sent to a thread. */
interface Call {
  readonly resolve: (answer: FromWorker) => void
}

/**
 * The grammars of a node. They are compiled in threads, away from the model's; a thread that compiles holds up only the
 * sequences that it follows itself, so a new grammar goes to a thread that follows none where there is one. A grammar
 * is first parsed in a thread that nobody depends on: one that xgrammar cannot take ends its thread.
 */
export class Grammars {
  readonly #options: Required<GrammarsOptions>
  readonly #threads: Thread[] = []
  #checker: Thread | undefined
  #sessions = 0

  constructor(options: GrammarsOptions) {
    this.#options = { workers: 2, maxGrammars: 64, checkMs: 10_000, compileMs: 10_000, ...options }
  }

  /** A text that follows `grammar` from its beginning. Throws `grammar_invalid` for one that cannot be taken. */
  async open(grammar: Grammar, { stopTokens }: { stopTokens: readonly number[] }): Promise<GrammarSession> {
    const hash = await sha256Hex(JSON.stringify(grammar))
    let thread = this.#threads.find((each) => each.holds(hash))
    if (thread === undefined) {
      await this.#check(hash, grammar)
      thread = this.#threads.find((each) => each.holds(hash)) ?? this.#leastBusy()
    }
    const { compileMs } = this.#options
    await thread.compile(hash, { grammar, ms: compileMs })
    const vocab = this.#options.vocabulary.tokens.length
    return new GrammarSession({ thread, hash, id: this.#sessions++, vocab, stopTokens })
  }

  async close(): Promise<void> {
    const threads = [...this.#threads, ...(this.#checker === undefined ? [] : [this.#checker])]
    await Promise.all(threads.map((thread) => thread.end()))
  }

  async #check(hash: string, grammar: Grammar): Promise<void> {
    if (this.#checker?.isBroken !== false) this.#checker = new Thread({ task: 'check' })
    await this.#checker.ask({ type: 'check', hash, grammar }, this.#options.checkMs)
  }

  #leastBusy(): Thread {
    const { maxGrammars, vocabulary, workers } = this.#options
    const alive = this.#threads.filter(({ isBroken }) => !isBroken)
    this.#threads.splice(0, this.#threads.length, ...alive)
    const [least] = alive.toSorted((a, b) => a.load - b.load)
    if (least !== undefined && (least.load === 0 || alive.length >= workers)) return least
    const thread = new Thread({ task: 'match', vocabulary }, maxGrammars)
    this.#threads.push(thread)
    return thread
  }
}

/** One worker thread. */
export class Thread {
  readonly #worker: Worker
  readonly #maxGrammars: number
  readonly #calls = new Map<number, Call>()
  readonly #compiled = new Map<string, Promise<void>>()
  readonly #sessions = new Set<GrammarSession>()
  #nextCall = 0
  #isBroken = false

  constructor(setup: WorkerSetup, maxGrammars = 0) {
    this.#maxGrammars = maxGrammars
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

  /** Texts that it follows, and grammars on their way. */
  get load(): number {
    return this.#sessions.size + this.#calls.size
  }

  holds(hash: string): boolean {
    return !this.#isBroken && this.#compiled.has(hash)
  }

  compile(hash: string, { grammar, ms }: { grammar: Grammar; ms: number }): Promise<void> {
    const known = this.#compiled.get(hash)
    this.#compiled.delete(hash)
    const compiling = known ?? this.ask({ type: 'compile', hash, grammar }, ms)
    this.#compiled.set(hash, compiling)
    compiling.catch(() => this.#compiled.delete(hash))
    for (const oldest of this.#compiled.keys()) {
      if (this.#compiled.size <= this.#maxGrammars) break
      this.#compiled.delete(oldest)
      // Texts that follow it go on: they hold it themselves.
      this.tell({ type: 'forget', hash: oldest })
    }
    return compiling
  }

  /** Resolves when the thread has done it. Throws `grammar_invalid` with the thread's reason, or when it takes too long. */
  async ask(
    message: { readonly type: 'check' | 'compile'; readonly hash: string; readonly grammar: Grammar },
    ms: number,
  ): Promise<void> {
    const call = this.#nextCall++
    const { promise, resolve } = Promise.withResolvers<FromWorker>()
    this.#calls.set(call, { resolve })
    this.tell({ ...message, call })
    const late = setTimeout(() => this.#break(`it takes longer than ${ms / 1000} s; make it smaller`), ms)
    try {
      const { refusal } = await promise
      if (refusal !== undefined)
        throw new QuartetError('grammar_invalid', `it cannot be compiled: ${refusal}`, { param: 'grammar' })
    } finally {
      clearTimeout(late)
    }
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
