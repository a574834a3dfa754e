import { DatabaseSync } from 'node:sqlite'
import { CliFailure } from '../command/failure.ts'
import type { Home } from './home.ts'

const sqliteBusy = 5

/**
 * Makes this process the only one that runs a stack on this home. The lock is the operating system's (SQLite's
 * file lock), so it ends with the process, however that ends. Throws when another process holds it.
 */
export function lockHome({ folder, lock }: Home): Disposable {
  const database = new DatabaseSync(lock, { timeout: 0 })
  try {
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy)
      throw new CliFailure(`another quartet start runs on ${folder}`, {
        remedy: 'stop it, or give this one a home and ports of its own (--home, --edge-port, --node-port)',
      })
    throw error
  }
  return { [Symbol.dispose]: () => database.close() }
}
