import { type QuartetError, toQuartetError } from '../../shared/errors.ts'

const done = 'data: [DONE]\n\n'

export interface EventStream {
  /** One JSON value per server-sent event. */
  readonly events: AsyncGenerator<object, void>
  readonly onError: (error: QuartetError) => void
  /** What goes with the error that ends a broken stream. */
  readonly errorDetail: () => object
  /** The reader went away before the end; `close` follows. */
  readonly onLeft: () => void
  /** Called once, whichever way the stream ends. */
  readonly close: () => void
}

/**
 * Server-sent events as OpenAI sends them: `data: {…}`, ending with `data: [DONE]`. A failure becomes one last
 * event with an `error` and `errorDetail`, and no `[DONE]`: a truncated answer never looks complete.
 */
export function eventStream({
  close,
  errorDetail,
  events,
  onError,
  onLeft,
}: EventStream): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let isRead = true
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await events.next()
        if (!isRead) return
        if (next.done !== true) return controller.enqueue(encoder.encode(frame(next.value)))
        controller.enqueue(encoder.encode(done))
      } catch (thrown) {
        if (!isRead) return
        const error = toQuartetError(thrown)
        onError(error)
        controller.enqueue(encoder.encode(frame({ ...error.toBody(), ...errorDetail() })))
      }
      close()
      controller.close()
    },
    cancel() {
      isRead = false
      onLeft()
      close()
    },
  })
}

const frame = (value: object): string => `data: ${JSON.stringify(value)}\n\n`
