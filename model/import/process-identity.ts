import { hostname } from 'node:os'

/** Names this machine in file names and lock files. */
export const host = hostname().replaceAll(/[^A-Za-z0-9-]/g, '-')

/** Whether a process of this machine lives, whoever owns it. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
