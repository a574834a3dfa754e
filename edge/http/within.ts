/** What `work` gives; if that takes longer than `ms` milliseconds, what `late` gives or throws. The work goes on. */
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
