package pocketseg

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Test
import pocketseg.demo.GlDrawing
import pocketseg.live.Background
import pocketseg.live.Effect
import pocketseg.live.GraphicsError
import pocketseg.live.Latest
import pocketseg.live.Look
import pocketseg.live.Meter
import pocketseg.live.Picture
import pocketseg.live.Pipeline
import pocketseg.live.difference
import pocketseg.live.meanDifference
import pocketseg.model.Segmenter
import pocketseg.pixels.Box
import pocketseg.pixels.Grid
import pocketseg.pixels.InputTensor
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.YuvSampler
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import java.nio.ByteBuffer

/** The app's OpenGL code and the shaders of web_demo against the CPU's pixels, on this machine's OpenGL ES (Mesa's llvmpipe). */
class GlTest {
    @Before
    fun mesa() = assumeTrue(Mesa.missing, Mesa.missing == null)

    @Test
    fun everyEffectIsThatOfTheCpu() = Mesa.draw { drawing, mesa ->
        val far = difference(drawing)
        println("OpenGL ${mesa.name}: largest mean difference of an effect on the small frame $far")
        assertTrue("$far", far < 1.5)
    }

    /** Planes, interleaved and padded chroma, ten bits, every position of the sensor, every meaning of the numbers. */
    @Test
    fun aFrameIsUprightAndInItsColoursToTheLastBit() = Mesa.draw { drawing, _ ->
        val random = java.util.Random(3)
        for (layout in LAYOUTS) for (tag in 1..8) for (colours in YuvColours.entries) {
            val orientation = Orientation.ofExif(tag)
            val picture = Picture()
            picture.frame(layout, layout.lumaStride * layout.size.height, layout.chromaStride * layout.chroma.height, orientation, colours)
            for (plane in listOf(picture.y, picture.u, picture.v)) random.nextBytes(plane)
            val upright = orientation.upright(layout.size)
            for (crop in listOf(Box.all(upright), Box(2.0, 3.0, 11.0, 9.0))) {
                val size = Size(crop.width.toInt(), crop.height.toInt())
                val expected = IntArray(size.pixels)
                YuvSampler(layout, placement(layout.size, orientation, crop, size), size).sample(picture.y, picture.u, picture.v, colours, expected)
                val actual = IntArray(size.pixels)
                drawing.take(picture, crop)
                drawing.draw(Look(Effect.NONE), null, emptyArray())
                drawing.read(actual)
                assertPixels("$layout, $tag, $colours, $crop", expected, actual, limit = 0)
            }
        }
    }

    @Test
    fun theModelsInputIsThatOfTheCpu() = Mesa.draw { drawing, _ ->
        val (picture, photo, size) = portrait()
        drawing.take(picture, Box.all(size))
        for (small in listOf(Size(224, 224), Size(160, 256), Size(31, 7))) {
            val input = InputTensor(small, spec().input.dtype, spec().input.quantization).apply { fill(photo, Grid.resize(size, small)) }
            val actual = IntArray(small.pixels).also { drawing.sample(0, small, it) }
            val mean = assertPixels("$small", input.pixels, actual, limit = 1) // a float holds fewer digits of a place than a double
            assertTrue("$small: $mean", mean < 0.15) // and rounds twice, as OpenCV
        }
    }

    /** 720p, turned and mirrored as a front camera stores it: the frame, and what the CPU makes of the same at that size. */
    private fun portrait(): Triple<Picture, IntArray, Size> {
        val upright = Size(720, 1280)
        val model = Golden.portraitModel()
        val (photo, all) = Golden.pixels("models/$model/portrait-photo") to Golden.size("models/$model/portrait-photo")
        val shown = IntArray(upright.pixels).also { Grid(placement(all, Orientation(), Box(68.0, 0.0, 288.0, 512.0), upright), all, upright).sampleArgb(photo, it) }
        val orientation = Orientation(Turn.LEFT, mirror = true)
        val sensor = IntArray(upright.pixels).also { Grid(placement(upright, orientation, null, upright.turned), upright, upright.turned).sampleArgb(shown, it) }
        val frames = Latest {}
        FakeCamera(size = upright.turned, pixels = sensor, orientation = orientation).deliver(frames)
        val picture = frames.take()!!
        val seen = IntArray(upright.pixels)
        YuvSampler(picture.yuv!!, placement(picture.size, orientation, null, upright), upright).sample(picture.y, picture.u, picture.v, picture.colours, seen)
        return Triple(picture, seen, upright)
    }

    /** What [model] said first, again and again: an input that differs by one changes what an int8 network says. */
    private class Repeated(private val model: Segmenter) : Segmenter by model {
        private var said: ByteArray? = null

        override fun run(input: ByteBuffer, output: ByteBuffer) {
            val known = said
            if (known == null) model.run(input, output)
            output.clear()
            if (known == null) said = ByteArray(output.capacity()).also(output::get) else output.put(known)
        }
    }

    /** The real models' masks drawn at 720p, against the CPU at the same size. */
    @Test
    fun aPortraitLooksTheSameWithEveryModelAndEffect() {
        assumeTrue("no Python for the models", PythonSegmenter.available)
        val (picture, _, _) = portrait()
        val behind = Background(IntArray(90 * 70) { 0xFF102030.toInt() + it % 90 * 2 + (it / 90 * 3 shl 16) }, Size(90, 70))
        for (name in Golden.models()) {
            val model = Repeated(PythonSegmenter(name))
            val streets = "\"road\"" in Golden.asset("$name.json").readText() // in a portrait it finds many small pieces
            Mesa.draw { drawing, _ ->
                val cpu = Pipeline(listOf(model), Meter(), movingSide = 1280)
                val gl = Pipeline(listOf(model), Meter(), drawing)
                for (effect in Effect.entries) for (refinement in listOf(0f, 0.01f)) {
                    val look = Look(effect, refinement = refinement)
                    cpu.render(picture, look, behind, 1.0)
                    val (expected, size) = cpu.large(picture, look)
                    gl.render(picture, look, behind, 1.0)
                    val (actual, same) = gl.large(picture, look)
                    assertEquals(size, same)
                    val mean = meanDifference(expected, actual)
                    println("OpenGL, $name, $effect, refinement $refinement: mean difference $mean")
                    assertTrue("$name, $effect, refinement $refinement: mean difference $mean", mean < when (effect) {
                        Effect.BLUR -> 0.6
                        Effect.MASK -> if (streets) 0.5 else 0.3 // parts have their edges between other pixels
                        else -> 0.15
                    })
                }
            }
            model.close()
        }
    }

    @Test
    fun twoModelsShareTheFrameAndPartsHaveTheirColours() = Mesa.draw { drawing, _ ->
        val frames = Latest {}
        FakeCamera(size = Size(64, 48)).deliver(frames)
        val picture = frames.take()!!
        val models: List<Segmenter> = listOf(BrightSegmenter(spec()), BrightSegmenter(spec(classes = 4, side = 16)))
        for (look in listOf(Look(Effect.MASK, refinement = 0f), Look(Effect.COLOUR, colour = 0xFF0000FF.toInt(), fillView = true))) {
            val (cpu, gl) = Pipeline(models, Meter()) to Pipeline(models, Meter(), drawing)
            cpu.render(picture, look, null, 0.9)
            gl.render(picture, look, null, 0.9)
            assertEquals(cpu.size, gl.size)
            val mean = meanDifference(cpu.output!!, gl.output!!)
            assertTrue("${look.effect}: $mean", mean < 1.0)
            assertEquals("the divider", -1, gl.output!![3 * gl.size.width + gl.size.width / 2])
        }
    }

    @Test
    fun anotherSizeOrModelIsDrawnInItsTurn() = Mesa.draw { drawing, _ ->
        for (size in listOf(Size(64, 48), Size(320, 240), Size(64, 48))) {
            val pipeline = Pipeline(listOf(BrightSegmenter(spec(side = size.height / 3))), Meter(), drawing)
            val frames = Latest {}
            FakeCamera(size = size).deliver(frames)
            pipeline.render(frames.take()!!, Look(Effect.COLOUR, colour = 0xFF112233.toInt()), null, 1.0)
            assertEquals(0xFF112233.toInt(), pipeline.output!![5])
            assertEquals(0xFFFAFAFA.toInt(), pipeline.output!![size.width - 5])
        }
    }

    @Test
    fun aShaderThatTheDriverRefusesIsAnErrorThatNamesIt() {
        val mesa = Mesa()
        val broken = GlDrawing(mesa) { name -> Mesa.shader(name).let { if (name == "shrink.frag.glsl") it.replace("vec4", "vec5") else it } }
        val error = assertThrows(GraphicsError::class.java) { difference(broken) }
        broken.close()
        assertTrue("${error.message}", "shrink.frag.glsl" in error.message!! && "syntax error" in error.message!!)
    }

    @Test
    fun aDriverThatDrawsAnotherPictureIsFarAway() {
        val mesa = Mesa()
        val wrong = GlDrawing(mesa) { name -> Mesa.shader(name).let { if (name == "line.frag.glsl") it.replace("mean.y -", "1.0 - mean.y -") else it } }
        val far = difference(wrong)
        wrong.close()
        assertTrue("$far", far > 4)
    }

    private companion object {
        val LAYOUTS = listOf(
            YuvLayout(Size(34, 22), 34, 17, 1), YuvLayout(Size(34, 22), 40, 48, 2), YuvLayout(Size(33, 21), 40, 40, 2),
            YuvLayout(Size(20, 16), 48, 48, 4, lumaPixelStride = 2),
        )
    }
}
