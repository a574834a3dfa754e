import { rmSync } from 'node:fs'

/** Removes a folder with this, or at the latest with the process: a run that is cut off leaves nothing behind. */
export function removedInTheEnd(folder: string): Disposable {
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  return {
    [Symbol.dispose]() {
      process.off('exit', remove)
      remove()
    },
  }
}
