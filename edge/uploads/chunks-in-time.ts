import { QuartetError } from '../../shared/errors.ts'
import { uploadMs } from '../directory/adapter-table.ts'

/** An upload of which nothing arrives for so long is over. */
const maxIdleMs = 30_000
/** How long an upload may take: it ends before it is given up, so that nothing is written after. */
export const maxUploadMs = 0.8 * uploadMs

/**
 * An upload's bytes as they arrive. Throws `request_timeout` when they stay away or take too long, and
 * `client_closed_request` when the client cuts them off. Leaving early cancels the rest.
 */
export async function* chunksInTime(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const reader = body.getReader()
  const deadline = Date.now() + maxUploadMs
  try {
    for (;;) {
      const { done, value } = await readBefore(deadline, reader)
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

async function readBefore(deadline: number, reader: ReadableStreamDefaultReader<Uint8Array>) {
  const left = deadline - Date.now()
  if (left <= 0) throw tooSlow()
  const isLast = left <= maxIdleMs
  let timer: ReturnType<typeof setTimeout> | null = null
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(isLast ? tooSlow() : idle()), isLast ? left : maxIdleMs)
  })
  return Promise.race([reader.read().catch(cutOff), late]).finally(() => clearTimeout(timer))
}

const idle = () =>
  new QuartetError(
    'request_timeout',
    `nothing of the file arrived for ${maxIdleMs / 1000} seconds; send it again, whole`,
  )

const tooSlow = () =>
  new QuartetError(
    'request_timeout',
    `the upload took longer than ${maxUploadMs / 60_000} minutes; send it again, over a faster connection`,
  )

function cutOff(cause: unknown): never {
  throw new QuartetError('client_closed_request', 'the upload was cut off; send the file again, whole', {
    cause,
  })
}
