import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'

interface FailureDetail {
  /** The step that solves the problem, for the reader. */
  readonly remedy?: string
  /** Lines of a log that show the cause, oldest first. */
  readonly log?: readonly string[]
  readonly cause?: unknown
}

/** A failure that a command explains to the person who ran it. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure'
  readonly remedy: string | undefined
  readonly log: readonly string[]

  constructor(message: string, { remedy, log = [], cause }: FailureDetail = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.remedy = remedy
    this.log = log
  }
}

interface SystemError extends Error {
  readonly code: string
  readonly path?: string
}

/** Whether the operating system refused something. */
export function isSystemError(thrown: unknown): thrown is SystemError {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
}

/** Words for the failures of the operating system. A new code is one row here. */
const systemFailures: Record<string, (of: string) => string> = {
  ENOSPC: (of) =>
    `the disk is full${of}; free some space, or move the state elsewhere with QUARTET_HOME, and models with QUARTET_CACHE`,
  EDQUOT: (of) =>
    `the disk quota is used up${of}; free some space, or move the state elsewhere with QUARTET_HOME, and models with QUARTET_CACHE`,
  EFBIG: (of) => `a file may not grow so large here${of}; raise the limit (ulimit -f)`,
  EROFS: (of) =>
    `the file system is read-only${of}; move the state elsewhere with QUARTET_HOME, and models with QUARTET_CACHE`,
  EACCES: (of) =>
    `permission denied${of}; check the owner and mode, or choose another QUARTET_HOME, and QUARTET_CACHE for models`,
  ENOENT: (of) => `no such file or folder${of}; check the path`,
  EISDIR: (of) => `a file was expected and this is a folder${of}; name a file`,
  ENOTDIR: (of) => `a folder was expected and this is a file${of}; name a folder`,
  EADDRINUSE: () => 'the port is in use; stop what uses it, or choose another',
}

/** The error and its causes, outermost first. */
function* causes(thrown: unknown): Generator<unknown> {
  const seen = new Set<unknown>()
  for (let at = thrown; at !== undefined && !seen.has(at); ) {
    seen.add(at)
    yield at
    at = at instanceof Error ? at.cause : undefined
  }
}

/** One line for anything thrown: it names the fault and the remedy. */
export function describeFailure(thrown: unknown): string {
  for (const cause of causes(thrown)) {
    const describe = isSystemError(cause) ? systemFailures[cause.code] : undefined
    if (describe !== undefined && isSystemError(cause))
      return describe(cause.path === undefined ? '' : ` (${cause.path})`)
  }
  if (thrown instanceof CliFailure) {
    const { message, remedy } = thrown
    return oneLine(remedy === undefined ? message : `${message}; ${remedy}`)
  }
  if (thrown instanceof QuartetError) {
    const inner = thrown.code === 'internal_error' && thrown.cause instanceof Error ? thrown.cause : thrown
    return oneLine(inner.message)
  }
  if (thrown instanceof z.ZodError) return oneLine(z.prettifyError(thrown))
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return oneLine(`${message} (--debug shows where)`)
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ').trim()
}
