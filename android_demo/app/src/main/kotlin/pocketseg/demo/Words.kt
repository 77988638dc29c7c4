package pocketseg.demo

import android.content.Context
import pocketseg.live.Effect
import pocketseg.model.Delegate
import pocketseg.model.Problem
import pocketseg.model.Trouble

/** A trouble in the person's language; its detail stays as technical as it is. */
fun Context.words(trouble: Trouble): String {
    val text = when (trouble.problem) {
        Problem.UNEXPECTED -> R.string.problem_unexpected
        Problem.NO_PICTURE -> R.string.problem_no_picture
        Problem.NO_MEMORY -> R.string.problem_no_memory
        Problem.SAVE_FAILED -> R.string.problem_save_failed
        Problem.BACKGROUND_FAILED -> R.string.problem_background_failed
        Problem.MODEL_REFUSED -> R.string.problem_model_refused
        Problem.MODEL_STOPPED -> R.string.problem_model_stopped
        Problem.GPU_TRUSTED -> R.string.problem_gpu_trusted
        Problem.GPU_NOT_TRUSTED -> R.string.problem_gpu_not_trusted
        Problem.GPU_CRASHED -> R.string.problem_gpu_crashed
        Problem.GRAPHICS_FAILED -> R.string.problem_graphics_failed
        Problem.GRAPHICS_CRASHED -> R.string.problem_graphics_crashed
        Problem.CAMERA_NONE -> R.string.problem_camera_none
        Problem.CAMERA_REFUSED -> R.string.problem_camera_refused
        Problem.CAMERA_LOST -> R.string.problem_camera_lost
        Problem.CAMERA_FAILED -> R.string.problem_camera_failed
        Problem.PHOTO_FAILED -> R.string.problem_photo_failed
        Problem.VIDEO_FAILED -> R.string.problem_video_failed
        Problem.FILE_GONE -> R.string.problem_file_gone
    }
    return getString(text, trouble.detail.orEmpty())
}

fun Context.words(effect: Effect): String = getString(
    when (effect) {
        Effect.NONE -> R.string.effect_none
        Effect.BLUR -> R.string.effect_blur
        Effect.PICTURE -> R.string.effect_picture
        Effect.COLOUR -> R.string.effect_colour
        Effect.CUTOUT -> R.string.effect_cutout
        Effect.MASK -> R.string.effect_mask
    },
)

fun Context.words(delegate: Delegate): String = getString(if (delegate == Delegate.CPU) R.string.cpu else R.string.gpu)

fun Context.words(backdrop: Backdrop): String = getString(
    when (backdrop) {
        Backdrop.STUDIO -> R.string.backdrop_studio
        Backdrop.DAWN -> R.string.backdrop_dawn
        Backdrop.SEA -> R.string.backdrop_sea
        Backdrop.LIGHTS -> R.string.backdrop_lights
        Backdrop.HILLS -> R.string.backdrop_hills
        Backdrop.OWN -> R.string.backdrop_own
    },
)

/** An entry of a picker; [refusal] says why it cannot be chosen, null when it can. */
data class Choice<T>(val value: T, val label: String, val refusal: String? = null)

fun Context.delegateChoices() = Delegate.entries.map { Choice(it, words(it)) }

fun Context.threadChoices(cores: Int, delegate: Delegate) = listOf(1, 2, 3, 4, 6, 8).map { threads ->
    val refusal = when {
        threads > cores -> getString(R.string.refuse_cores, cores)
        delegate == Delegate.GPU && threads > 1 -> getString(R.string.refuse_gpu_threads)
        else -> null
    }
    Choice(threads, "$threads", refusal)
}

/** A model's name or why it cannot be used; [taken] is shown on the other half of a split screen. */
fun Context.modelChoices(models: List<ModelFile>, taken: String?) = models.map {
    Choice(it.name, it.name, it.problem ?: if (it.name == taken) getString(R.string.refuse_left) else null)
}
