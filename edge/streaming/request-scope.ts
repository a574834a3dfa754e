import { QuartetError } from '../../shared/errors.ts'

/** The node gives up at the deadline itself and says so; only a node that does not is cut off this much later. */
const graceMs = 1_000

/** The error for a client that has left. It is made once, as an error's stack is costly. */
const requestIsOver = new QuartetError('internal_error', 'the request is over')

/** How long a request's work may go on: until its client leaves, its deadline passes or its answer is complete. */
export class RequestScope {
  /** Milliseconds since 1970. */
  readonly deadline: number
  readonly #controller = new AbortController()
  readonly #timer: ReturnType<typeof setTimeout>
  readonly #client: AbortSignal
  readonly #clientLeft = () =>
    this.#controller.abort(new QuartetError('client_closed_request', 'the client closed the connection'))

  constructor({ client, timeoutMs }: { client: AbortSignal; timeoutMs: number }) {
    this.deadline = Date.now() + timeoutMs
    this.#client = client
    this.#timer = setTimeout(
      () =>
        this.#controller.abort(new QuartetError('deadline_exceeded', 'the request took longer than it may')),
      timeoutMs + graceMs,
    )
    client.addEventListener('abort', this.#clientLeft, { once: true })
    if (client.aborted) this.#clientLeft()
  }

  /** Aborts with a QuartetError as its reason. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Stops the calls that still run; after a complete answer there are none. */
  close(): void {
    clearTimeout(this.#timer)
    this.#client.removeEventListener('abort', this.#clientLeft)
    this.#controller.abort(requestIsOver)
  }
}
