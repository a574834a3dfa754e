export interface Indexed<T> {
  readonly index: number
  readonly value: T
}

/** Several streams as one, each value as soon as it is there. A stream that throws ends the whole. */
export async function* merge<T>(
  streams: readonly AsyncIterator<T, void>[],
): AsyncGenerator<Indexed<T>, void> {
  const [only] = streams
  if (only !== undefined && streams.length === 1) {
    for (let next = await only.next(); next.done !== true; next = await only.next())
      yield { index: 0, value: next.value }
    return
  }
  const next = (index: number) => {
    const value = (async () => ({ index, result: await streams[index]?.next() }))()
    // A reader that stops early leaves pending values unread; their failures must not go unhandled.
    value.catch(() => undefined)
    return value
  }
  const pending = new Map(streams.map((_, index) => [index, next(index)]))
  while (pending.size > 0) {
    const { index, result } = await Promise.race(pending.values())
    if (result === undefined || result.done === true) {
      pending.delete(index)
      continue
    }
    pending.set(index, next(index))
    yield { index, value: result.value }
  }
}
