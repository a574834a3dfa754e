import { type QuartetError, toQuartetError } from '../../shared/errors.ts'

interface EventStreamOptions {
  /** One JSON value per server-sent event. */
  readonly events: AsyncGenerator<object, void>
  readonly onError: (error: QuartetError) => void
  /** The last event of a stream that broke. */
  readonly failure: (error: QuartetError) => object
  /** Events carry their `type` as the event's name too. */
  readonly isNamed: boolean
  /** The content of the line behind the last event, if there is one. */
  readonly end: string | undefined
  /** The reader went away before the end; `close` follows. */
  readonly onLeft: () => void
  /** Called once, whichever way the stream ends. */
  readonly close: () => void
}

/**
 * Server-sent events: `data: {…}`, and in the end `end`. A failure becomes one last event, and no `end`: a truncated answer
 * never looks complete.
 */
export function eventStream({
  close,
  end,
  events,
  failure,
  isNamed,
  onError,
  onLeft,
}: EventStreamOptions): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const frame = isNamed ? namedFrame : dataFrame
  let isRead = true
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await events.next()
        if (!isRead) return
        if (next.done !== true) return controller.enqueue(encoder.encode(frame(next.value)))
        if (end !== undefined) controller.enqueue(encoder.encode(`data: ${end}\n\n`))
      } catch (thrown) {
        if (!isRead) return
        const error = toQuartetError(thrown)
        onError(error)
        controller.enqueue(encoder.encode(frame(failure(error))))
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

const dataFrame = (value: object): string => `data: ${JSON.stringify(value)}\n\n`

const namedFrame = (value: object): string =>
  'type' in value ? `event: ${value.type}\n${dataFrame(value)}` : dataFrame(value)
