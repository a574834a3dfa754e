import { randomBytes } from 'node:crypto'
import { rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomically } from './atomic-file.ts'

/** The room that the stack's databases need to go on when the disk is full otherwise. */
const ballastBytes = 16 * 1024 * 1024
/** Less free space than this, in bytes, is a full disk. */
const fullBytes = 2 * 1024 * 1024
const lookMs = 500

export interface BallastOptions {
  /** The home's folder. */
  readonly folder: string
  readonly tell: (message: string) => void
  /** Bytes that are free on the folder's disk. */
  readonly freeBytes?: (folder: string) => Promise<number>
}

/**
 * A file that only takes room, and is removed when the disk is full: the edge's databases cannot even be read where they
 * find no room at all, and chat would end with the first write that fails. It is made anew when there is room for it.
 */
export class Ballast {
  readonly #file: string
  readonly #options: BallastOptions

  constructor(options: BallastOptions) {
    this.#options = options
    this.#file = join(options.folder, 'ballast')
  }

  /** Looks at the disk every half second until it is disposed. */
  watch(): Disposable {
    let isOver = false
    let timer: NodeJS.Timeout | undefined
    const look = async () => {
      await this.look().catch(() => undefined)
      if (!isOver) timer = setTimeout(look, lookMs).unref()
    }
    void look()
    return {
      [Symbol.dispose]() {
        isOver = true
        clearTimeout(timer)
      },
    }
  }

  async look(): Promise<void> {
    const { folder, tell } = this.#options
    const free = await (this.#options.freeBytes ?? freeBytesOf)(folder)
    const isThere = await stat(this.#file).then(
      () => true,
      () => false,
    )
    if (isThere && free < fullBytes) {
      await rm(this.#file)
      tell(
        `the disk of ${folder} is full; a reserve of ${ballastBytes / 2 ** 20} MB keeps the stack going for now: free some space`,
      )
    } else if (!isThere && free > 2 * ballastBytes)
      // Random, as some file systems keep no room for zeros.
      await writeFileAtomically(this.#file, { data: randomBytes(ballastBytes), mode: 0o600 })
  }
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
