import type { Indexed } from '../streaming/merge.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import type { RequestReport } from './request-report.ts'

/** Passes the deltas on unchanged and notes their usage in the report, so that a broken answer has its counts too. */
export async function* tallied(
  deltas: AsyncGenerator<Indexed<ChoiceDelta>, void>,
  { promptTokens, report }: { promptTokens: number; report: RequestReport },
): AsyncGenerator<Indexed<ChoiceDelta>, void> {
  const tokens: number[] = []
  const finishReasons: string[] = []
  for await (const delta of deltas) {
    const { index, value } = delta
    tokens[index] = value.completionTokens
    if (value.finish !== undefined) finishReasons[index] = value.finish.reason
    report.use = { promptTokens, tokens, finishReasons }
    yield delta
  }
}
