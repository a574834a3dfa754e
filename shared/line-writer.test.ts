import { expect, it } from 'vitest'
import { type LineStream, lineWriter } from './line-writer.ts'

class Disk implements LineStream {
  readonly #listeners: ((error: Error) => void)[] = []
  isFull = false
  readonly written: string[] = []

  on(_event: 'error', listener: (error: Error) => void): void {
    this.#listeners.push(listener)
  }

  write(text: string, done: (error?: Error | null) => void): void {
    if (this.isFull) {
      const error = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      done(error)
      for (const listener of this.#listeners) listener(error)
    } else {
      this.written.push(text)
      done()
    }
  }
}

it('lines that a full disk does not take are dropped and counted, and told of when it takes some again', () => {
  const disk = new Disk()
  const { dropped, write } = lineWriter(disk, (missing) => `missing ${missing}`)
  write('a')
  disk.isFull = true
  for (let i = 0; i < 3; i++) write('lost')
  expect(dropped()).toBe(3)
  disk.isFull = false
  write('b')
  write('c')
  expect(disk.written).toEqual(['a\n', 'b\n', 'missing 3\n', 'c\n'])
  expect(dropped()).toBe(3)
})
