package pocketseg

import android.Manifest
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import pocketseg.demo.BenchmarkActivity
import pocketseg.demo.MainActivity
import pocketseg.demo.R
import pocketseg.demo.openCamera
import pocketseg.demo.openModel
import pocketseg.pixels.Box
import pocketseg.pixels.Grid
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb

/** The screens in both themes, the portrait before a camera, the mask by the real model; compared with those of the README. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], qualifiers = "w411dp-h891dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreenshotTest : AppFixture() {
    /** The app with the portrait before its front camera. */
    private fun portrait(upright: Size = Size(720, 1280), part: Box = Box(68.0, 0.0, 288.0, 512.0)): MainActivity {
        assumeTrue("no Python for the model", PythonSegmenter.available)
        val model = Golden.portraitModel()
        val photo = Golden.pixels("models/$model/portrait-photo")
        val all = Golden.size("models/$model/portrait-photo")
        // An upright part of the photo, on its side and mirrored as the sensor of a front camera has it.
        val shown = IntArray(upright.pixels).also { Grid(placement(all, Orientation(), part, upright), all, upright).sampleArgb(photo, it) }
        val stored = upright.turned
        val orientation = Orientation(Turn.LEFT, mirror = true)
        val sensor = IntArray(stored.pixels).also { Grid(placement(upright, orientation, null, stored), upright, stored).sampleArgb(shown, it) }
        shadowOf(RuntimeEnvironment.getApplication()).grantPermissions(Manifest.permission.CAMERA)
        openCamera = { _, _ -> FakeCamera(400, stored, sensor, orientation) }
        openModel = { _, _, _, _ -> PythonSegmenter(model) }
        model("portrait", Golden.asset("$model.json").readText())
        val activity = launch()
        wait("the picture") { activity.state.report?.let { it.frames >= 2 } == true }
        return activity
    }

    private fun settled(activity: MainActivity) {
        val frames = activity.state.report!!.frames
        wait("the next pictures") { activity.state.report!!.frames >= frames + 3 }
    }

    private fun screens(theme: String) {
        val activity = portrait()
        settled(activity)
        screenshot(activity, "blur$theme")
        for ((effect, name) in listOf(R.id.effect_picture to "picture", R.id.effect_cutout to "cutout")) {
            click(activity, effect)
            settled(activity)
            screenshot(activity, "$name$theme")
        }
        if (theme == "") {
            click(activity, R.id.effect_mask)
            settled(activity)
            screenshot(activity, "mask$theme")
        }
        click(activity, R.id.settings)
        screenshot(activity, "settings$theme")
    }

    @Test
    @Config(qualifiers = "w411dp-h891dp-notnight-xhdpi")
    fun light() = screens("")

    @Test
    @Config(qualifiers = "w411dp-h891dp-night-xhdpi")
    fun dark() = screens("-dark")

    @Test
    @Config(qualifiers = "w891dp-h411dp-land-night-xhdpi")
    fun landscape() {
        val activity = portrait(Size(1280, 920), Box(0.0, 0.0, 512.0, 368.0))
        click(activity, R.id.effect_colour)
        settled(activity)
        screenshot(activity, "landscape-dark")
    }

    @Test
    fun speedTest() = screenshot(start<BenchmarkActivity>(), "benchmark")
}
