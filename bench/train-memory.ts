import { z } from 'zod'
import { benchBatch, openBenchLossModel, randomParameters } from './train-model.ts'

/** Child of the training benchmark: two steps of one batch; reports this process's peak memory in MiB and exits. */

const [checkpointing, response] = z
  .tuple([z.enum(['kept', 'recomputed']), z.coerce.number()])
  .parse(process.argv.slice(2, 4))
const model = await openBenchLossModel('iapt', { checkpointing: checkpointing === 'recomputed' })
const parameters = randomParameters(model)
for (let step = 0; step < 2; step++) await model.differentiate(benchBatch(response), parameters)
process.send?.(process.resourceUsage().maxRSS / 1024)
await model.close()
process.disconnect()
