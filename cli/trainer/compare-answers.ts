import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { PrefillWeights } from '../../model/runtime/prefill-weights.ts'
import { openEvaluationBackend } from '../../training/evaluation/evaluate.ts'
import { type MeasureOptions, measure } from '../../training/evaluation/measure.ts'
import type { TrainedAdapter } from '../../training/train-adapter.ts'
import { type JobPlan, maxShown } from '../../training/trainer/job-plan.ts'
import type { Comparison } from '../../training/trainer/run-job.ts'
import { servingDecoder } from '../tokenizer/serving-decoder.ts'

/** Answers that are shown. */
const shown = 4
const maxTokens = 64

/** The first validation prompts, answered by the untuned and by the tuned model as a node serves them. */
export async function compareAnswers(
  backbone: Backbone,
  {
    plan,
    prefillWeights,
    trained,
  }: {
    readonly plan: JobPlan
    readonly trained: TrainedAdapter
    /** As a node on this machine reads prompts when absent. */
    readonly prefillWeights?: PrefillWeights | undefined
  },
): Promise<Comparison> {
  const examples = plan.data.dev.examples.slice(0, maxShown)
  if (examples.length === 0) return { accuracy: null, samples: [] }
  const decode = await servingDecoder(backbone)
  const backend = await openEvaluationBackend(backbone, {
    examples,
    maxTokens,
    promptRows: plan.metadata.l_sp,
    threads: 1,
    prefillWeights,
  })
  const questions = new Map(
    examples.map((example) => [decode(example.instruction), plan.questions.get(example)]),
  )
  const options: MeasureOptions = {
    backend,
    examples,
    parts: new Set(['answers']),
    choices: [],
    maxTokens,
    stopTokens: backbone.manifest.tokens.eos,
    decode,
  }
  try {
    const untuned = await measure(options, { adapter: undefined })
    const tuned = await measure(options, { adapter: backend.loadAdapter(trained.file) })
    return {
      accuracy: {
        examples: untuned.answers.length,
        untuned: shareRight(untuned.answers),
        tuned: shareRight(tuned.answers),
      },
      samples: untuned.answers.slice(0, shown).map(({ output, prompt, references }, at) => ({
        prompt: questions.get(prompt) ?? prompt,
        expected: references[0] ?? '',
        untuned: output,
        tuned: tuned.answers[at]?.output ?? '',
      })),
    }
  } finally {
    await backend.close()
  }
}

/** Share of the answers that are a reference, up to white space around it. */
const shareRight = (
  answers: readonly { readonly output: string; readonly references: readonly string[] }[],
) =>
  answers.filter(({ output, references }) => references.some((each) => each.trim() === output.trim()))
    .length / Math.max(1, answers.length)
