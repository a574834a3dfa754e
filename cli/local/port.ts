import { once } from 'node:events'
import { createServer } from 'node:net'
import { CliFailure } from '../command/failure.ts'

export const localHost = '127.0.0.1'

/** Throws when something else listens on the port, naming the flag and variable that choose another. */
export async function assertPortFree({
  port,
  flag,
  env,
}: {
  port: number
  flag: string
  env: string
}): Promise<void> {
  const probe = createServer()
  try {
    probe.listen({ port, host: localHost, exclusive: true })
    await once(probe, 'listening')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    const remedy = `choose another with ${flag} or ${env}`
    if (code === 'EADDRINUSE')
      throw new CliFailure(`port ${port} is in use`, { remedy: `stop what uses it, or ${remedy}` })
    if (code === 'EACCES') throw new CliFailure(`port ${port} needs privileges`, { remedy })
    throw cause
  } finally {
    probe.close()
  }
}
