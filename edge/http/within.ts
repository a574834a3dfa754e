/** Gives the result of `work`; if that takes longer than `ms` milliseconds, that of `late`, which may throw. The work goes on. */
export async function within<T, L>(
  ms: number,
  { late, work }: { work: Promise<T>; late: () => L },
): Promise<T | L> {
  const { promise: over, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  try {
    return await Promise.race([work, over.then(late)])
  } finally {
    clearTimeout(timer)
  }
}
