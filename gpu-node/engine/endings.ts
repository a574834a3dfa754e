import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import type { EngineObserver } from './reports.ts'
import type { Scheduler } from './scheduler.ts'
import type { Ending, Sequence } from './sequence.ts'

export interface EndingsOptions {
  readonly scheduler: Pick<Scheduler, 'retire'>
  readonly observer: EngineObserver
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** Ends sequences: each says why to its reader, gives back all it holds, and is reported. */
export class Endings {
  readonly #scheduler: EndingsOptions['scheduler']
  readonly #observer: EngineObserver
  readonly #now: () => number

  constructor({ now, observer, scheduler }: EndingsOptions) {
    this.#scheduler = scheduler
    this.#observer = observer
    this.#now = now
  }

  end(sequence: Sequence, ending: Ending): void {
    const now = this.#now()
    sequence.end(ending, now)
    this.#scheduler.retire(sequence)
    this.#observer.ended({
      requestId: sequence.engineRequest.request.requestId,
      engineRequest: sequence.engineRequest,
      outcome: ending.type === 'done' ? ending.reason : ending.code,
      usage: sequence.usage,
      timings: sequence.timings(now),
    })
  }

  fail(sequence: Sequence, { code, message }: QuartetError): void {
    this.end(sequence, { type: 'error', code, message })
  }

  /** The model ran, and its result is of no use. */
  failComputed(sequence: Sequence, error: unknown): void {
    const failure = toQuartetError(error)
    if (failure.code === 'node_error' && sequence.engineRequest.adapter !== null)
      this.fail(sequence, unusableAdapter())
    else this.failHere(sequence, error)
  }

  /** The prompt rows that its adapter made are no numbers. */
  failRows(sequence: Sequence): void {
    this.fail(sequence, unusableAdapter())
  }

  /** The fault is the node's own, whatever the request is: its log says so. */
  failHere(sequence: Sequence, error: unknown): void {
    this.#observer.failed(error)
    this.fail(sequence, toQuartetError(error))
  }

  /** Ends those whose client left or whose deadline passed; all of them when the engine closes. */
  endOverdue(sequences: readonly Sequence[], { isClosing }: { isClosing: boolean }): void {
    const now = this.#now()
    for (const sequence of sequences) {
      const { request, signal } = sequence.engineRequest
      if (sequence.cancelled || signal.aborted)
        this.fail(sequence, new QuartetError('client_closed_request', 'the client left'))
      else if (now >= sequence.deadline)
        this.fail(sequence, new QuartetError('deadline_exceeded', `not done within ${request.timeoutMs} ms`))
      else if (isClosing)
        this.fail(sequence, new QuartetError('draining', 'the node shut down; retry elsewhere'))
    }
  }
}

/** The untuned backbone's logits are numbers, so that an adapter is what made them none: no node can do better. */
const unusableAdapter = () =>
  new QuartetError(
    'adapter_unusable',
    "the adapter's weights are too large: what they compute for this prompt is no number; train it anew, or roll the alias back",
  )
