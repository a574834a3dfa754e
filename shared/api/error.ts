import { z } from 'zod'
import { type ErrorCode, errorCodes } from '../errors.ts'
import { CompletionUsage } from './parameters.ts'

const codes = Object.keys(errorCodes).filter((code): code is ErrorCode => Object.hasOwn(errorCodes, code))

/** Every answer that is no success. */
export const ErrorBody = z.object({
  /** Present under `/v1/messages`, as at Anthropic. */
  type: z.literal('error').optional(),
  /** The same as the header `x-request-id`; present where `type` is. */
  request_id: z.string().optional(),
  error: z.object({
    message: z.string(),
    /** OpenAI's name for the kind of error; Anthropic's under `/v1/messages`. */
    type: z.string(),
    /** The field at fault, in the client's own spelling. */
    param: z.string().nullable(),
    code: z.enum(codes),
  }),
})

/** The last event of a stream that broke off, with what it used so far. */
export const StreamError = ErrorBody.extend({ usage: CompletionUsage })
